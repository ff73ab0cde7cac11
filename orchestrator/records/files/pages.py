"""What a Parquet file claims to hold, read from its page headers alone: before anything is decoded, and not by Arrow.

A few bytes may claim billions of values: Arrow would make room for them, and of a damaged footer it ends the process.
The headers are structs of Thrift's compact protocol; of these only what is needed here is read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_GROUPS = 4
_COLUMNS = 1
_META = 3
_COMPRESSED = 7
_DATA = 9
_DICTIONARY = 11
"""Fields of a column's metadata: its bytes in the file, and where its first data page and its dictionary lie."""

_UNPACKED = 2
_PACKED = 3
"""Fields of a page's header: bytes of the page when it is unpacked, and as it lies in the file."""

_PAGES = (5, 7, 8)
"""Fields that say how many values a page has, whichever kind it is."""

_DEEPEST = 16
"""Structs within structs; a Parquet footer has fewer."""


class ClaimedSize(NamedTuple):
    """What a column of a row group claims to hold."""

    values: int
    """In its largest page."""
    unpacked: int
    """Bytes of its largest page."""


def claimed(file: bytes) -> Iterator[ClaimedSize]:
    """What each column of each row group claims.

    Args:
        file: All of it.

    Raises:
        ValueError: It is no Parquet file, or its headers make no sense.
    """
    try:
        yield from _claimed(file)
    except (LookupError, TypeError, AttributeError) as error:  # a field that is missing, or of another kind
        raise ValueError("its headers are no Parquet file's") from error


def _claimed(file: bytes) -> Iterator[ClaimedSize]:
    length = int.from_bytes(file[-8:-4], "little")
    if file[-4:] != b"PAR1" or length > len(file) - 12:
        raise ValueError("it does not end as a Parquet file does")
    footer = _Reader(file[-8 - length : -8]).struct()
    for group in footer.get(_GROUPS, []):
        for column in group.get(_COLUMNS, []):
            yield _column(file, column[_META])


def _column(file: bytes, meta: Mapping[int, Any]) -> ClaimedSize:
    found = ClaimedSize(0, 0)
    if not meta[_COMPRESSED]:
        return found
    start = min(offset for name in (_DATA, _DICTIONARY) if (offset := meta.get(name)))
    end = start + meta[_COMPRESSED]
    if not 4 <= start <= end <= len(file):  # noqa: PLR2004 - behind the first PAR1
        raise ValueError("a column lies outside the file")
    while start < end:
        reader = _Reader(file, start)
        header = reader.struct()
        values = max((header[name].get(1, 0) for name in _PAGES if name in header), default=0)
        if values < 0 or header[_PACKED] < 0 or reader.place + header[_PACKED] > end:
            raise ValueError("a page lies outside its column")
        found = ClaimedSize(max(found.values, values), max(found.unpacked, header[_UNPACKED]))
        start = reader.place + header[_PACKED]
    return found


class _Reader:
    """Reads values of Thrift's compact protocol one after the other."""

    def __init__(self, content: bytes, place: int = 0) -> None:
        self._content = content
        self.place = place

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The fields of a struct by their numbers."""
        if depth > _DEEPEST:
            raise ValueError("structs are nested too deeply")
        fields = dict[int, Any]()
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._whole()
            fields[number] = self._value(head & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        match kind:
            case 1 | 2:
                return kind == 1
            case 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._whole()
            case 7:
                return struct.unpack("<d", self._bytes(8))[0]
            case 8:
                return self._bytes(self._varint())
            case 9 | 10:
                return self._list(depth)
            case 12:
                return self.struct(depth + 1)
            case _:
                raise ValueError(f"a field is of the unknown kind {kind}")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count = head >> 4
        if count == 15:  # noqa: PLR2004 - then the number follows
            count = self._varint()
        if count > len(self._content):
            raise ValueError("a list has more entries than the file has bytes")
        if head & 15 in (1, 2):
            return [self._byte() == 1 for _ in range(count)]
        return [self._value(head & 15, depth) for _ in range(count)]

    def _whole(self) -> int:
        number = self._varint()
        return number >> 1 ^ -(number & 1)

    def _varint(self) -> int:
        number = shift = 0
        while (byte := self._byte()) & 128:
            number |= (byte & 127) << shift
            shift += 7
            if shift > 63:  # noqa: PLR2004 - 64 bits are the most
                raise ValueError("a number has too many bits")
        return number | byte << shift

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, count: int) -> bytes:
        found = self._content[self.place : self.place + count]
        if len(found) < count:
            raise ValueError("the headers end too early")
        self.place += count
        return found
