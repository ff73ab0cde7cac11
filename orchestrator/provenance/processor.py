"""Which instruction sets torch and oneDNN use, found without importing either.

Sums in wider registers round differently, so the same recipe gives other digits with another instruction set.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

AVX2 = frozenset({"avx2", "fma"})
AVX512 = frozenset({"avx512vl", "avx512bw", "avx512dq", "fma"})

_CORE = frozenset({"avx512f", "avx512bw", "avx512vl", "avx512dq"})
_FP16 = frozenset({"avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni"})
_AMX = frozenset({"amx_tile", "amx_int8", "amx_bf16"})

_ONEDNN = {
    "SSE41": frozenset({"sse4_1"}),
    "AVX": frozenset({"avx"}),
    "AVX2": frozenset({"avx2"}),
    "AVX2_VNNI": frozenset({"avx2", "avx_vnni"}),
    "AVX2_VNNI_2": frozenset({"avx2", "avx_vnni", "avx_vnni_int8", "avx_ne_convert"}),
    "AVX512_CORE": _CORE,
    "AVX512_CORE_VNNI": _CORE | {"avx512_vnni"},
    "AVX512_CORE_BF16": _CORE | {"avx512_vnni", "avx512_bf16"},
    "AVX10_1_512": _CORE | _FP16,
    "AVX10_1_512_AMX": _CORE | _FP16 | _AMX,
    "AVX10_1_512_AMX_FP16": _CORE | _FP16 | _AMX | {"amx_fp16"},
}
"""oneDNN's instruction sets in ascending order, each with the processor flags that it needs."""

_SYNONYMS = {
    "AVX512_CORE_FP16": "AVX10_1_512",
    "AVX512_CORE_AMX": "AVX10_1_512_AMX",
    "AVX512_CORE_AMX_FP16": "AVX10_1_512_AMX_FP16",
}

_WITHOUT_VNNI = {"AVX512_CORE", "AVX512_CORE_VNNI", "AVX512_CORE_BF16"}
"""Limits that exclude `AVX2_VNNI`, although it comes before them."""


@cache
def flags() -> frozenset[str] | None:
    """The flags of this processor, by Linux's names; None on a system or processor that does not list them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = next((line.partition(":")[2] for line in lines if line.startswith("flags")), None)
    return None if found is None else frozenset(found.split())


def instruction_set(known: frozenset[str] | None = None) -> str | None:
    """The instruction set of torch's own kernels, as torch names it: `AVX512`, `AVX2` or `DEFAULT`; None if unknown.

    Args:
        known: The processor's flags; by default, those of this machine.
    """
    known = flags() if known is None else known
    if known is None:
        return None
    asked = os.environ.get("ATEN_CPU_CAPABILITY", "")
    if asked in {"avx512", "avx2", "default"}:
        return asked.upper()
    return "AVX512" if known >= AVX512 else "AVX2" if known >= AVX2 else "DEFAULT"


def onednn_isa(known: frozenset[str] | None = None) -> str | None:
    """The largest instruction set that oneDNN may use, as `ONEDNN_MAX_CPU_ISA` names it; None if unknown.

    Args:
        known: The processor's flags; by default, those of this machine.
    """
    known = flags() if known is None else known
    if known is None:
        return None
    asked = (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "").upper()
    cap = _SYNONYMS.get(asked, asked)
    names = list(_ONEDNN)
    allowed = names[: names.index(cap) + 1] if cap in _ONEDNN else names
    vnni = {"AVX2_VNNI", "AVX2_VNNI_2"} if cap in _WITHOUT_VNNI else set[str]()
    fitting = [name for name in allowed if name not in vnni and known >= _ONEDNN[name]]
    return fitting[-1] if fitting else "DEFAULT"
