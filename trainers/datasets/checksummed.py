"""Official files, identified by their MD5 sums and read by torchvision's loader."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from trainers.datasets.downloaded import Downloaded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Checksummed(Downloaded, ABC):
    """Files that count as present only if their bytes are the official ones."""

    @abstractmethod
    def _official(self) -> Any:  # torchvision is imported late, and has no types
        """The class in torchvision: it knows the files, their checksums and how to read them."""

    @abstractmethod
    def _checksums(self) -> dict[str, str]:
        """The MD5 sum of each file by its name in `folder`."""

    def _files(self) -> Sequence[str]:
        return list(self._checksums())

    def _expected(self, data_dir: Path) -> str:
        return f"undamaged {', '.join(self._files())} in {data_dir / self.folder}"

    def _present(self, data_dir: Path) -> bool:
        from torchvision.datasets.utils import check_integrity

        # Check the content too: training would silently use fewer images of a truncated file.
        folder = data_dir / self.folder
        return all(check_integrity(folder / file, md5) for file, md5 in self._checksums().items())
