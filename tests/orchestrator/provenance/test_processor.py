"""The instruction sets that are expected here, against what torch and oneDNN themselves say."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from orchestrator.provenance import processor

TORCH = "import torch; print(torch.backends.cpu.get_cpu_capability())"
ONEDNN = """
import torch
with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
    torch.nn.functional.conv2d(torch.zeros(8, 16, 32, 32), torch.zeros(32, 16, 3, 3))
"""
EXPECTED = (
    "import sys; from orchestrator.provenance import processor; "
    "print(processor.{}()); assert 'torch' not in sys.modules"
)

IN_ITS_WORDS = {
    "SSE41": "Intel SSE4.1",
    "AVX": "Intel AVX",
    "AVX2": "Intel AVX2",
    "AVX2_VNNI": "Intel AVX2 with Intel DL Boost",
    "AVX512_CORE": "Intel AVX-512 with AVX512BW, AVX512VL, and AVX512DQ extensions",
    "AVX512_CORE_VNNI": "Intel AVX-512 with Intel DL Boost",
    "AVX512_CORE_BF16": "Intel AVX-512 with Intel DL Boost and bfloat16 support",
    "AVX10_1_512": "Intel AVX 10.1",
    "AVX10_1_512_AMX": "Intel AVX10.1 and Intel AMX with bfloat16 and 8-bit integer support",
}

pytestmark = pytest.mark.skipif(processor.flags() is None, reason="this system does not tell the processor's flags")


def said(code: str, **variables: str) -> str:
    plain = {name: value for name, value in os.environ.items() if "CPU_ISA" not in name and "ATEN" not in name}
    run = subprocess.run(
        [sys.executable, "-c", code], env={**plain, **variables}, capture_output=True, text=True, check=False
    )
    assert not run.returncode, run.stderr
    return run.stdout


@pytest.mark.parametrize(
    "asked", ["", "avx2", *(pytest.param(each, marks=pytest.mark.slow) for each in ("default", "AVX2"))]
)
def test_the_instruction_set_is_the_one_that_torch_names(asked: str) -> None:
    limits = {"ATEN_CPU_CAPABILITY": asked}
    assert said(EXPECTED.format("instruction_set"), **limits) == said(TORCH, **limits)


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"ONEDNN_MAX_CPU_ISA": "AVX2"},
        pytest.param({"ONEDNN_MAX_CPU_ISA": "avx512_core"}, marks=pytest.mark.slow),
        pytest.param({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}, marks=pytest.mark.slow),
        {"ONEDNN_MAX_CPU_ISA": "none such"},
        pytest.param({"DNNL_MAX_CPU_ISA": "AVX2_VNNI"}, marks=pytest.mark.slow),
        pytest.param({"ONEDNN_MAX_CPU_ISA": "AVX", "DNNL_MAX_CPU_ISA": "AVX2"}, marks=pytest.mark.slow),
    ],
)
def test_onednns_instruction_set_is_the_one_that_it_names(limits: dict[str, str]) -> None:
    told = next(line for line in said(ONEDNN, **limits).splitlines() if ",isa:" in line)
    name = said(EXPECTED.format("onednn_isa"), **limits).strip()
    assert IN_ITS_WORDS[name] == told.partition("isa:")[2]


AVX2_ONLY = frozenset({"sse4_1", "avx", "avx2", "fma"})


@pytest.mark.parametrize(
    ("flags", "torch", "onednn"),
    [
        (frozenset(), "DEFAULT", "DEFAULT"),
        (AVX2_ONLY - {"fma"}, "DEFAULT", "AVX2"),
        (AVX2_ONLY, "AVX2", "AVX2"),
        (AVX2_ONLY | {"avx_vnni"}, "AVX2", "AVX2_VNNI"),
        (AVX2_ONLY | {"avx512f", "avx512bw", "avx512vl"}, "AVX2", "AVX2"),
        (AVX2_ONLY | {"avx512f", "avx512bw", "avx512vl", "avx512dq"}, "AVX512", "AVX512_CORE"),
    ],
)
def test_each_set_needs_all_of_its_flags(
    flags: frozenset[str], torch: str, onednn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    assert processor.instruction_set(flags) == torch
    assert processor.onednn_isa(flags) == onednn
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")
    capped = "AVX2" if onednn == "AVX2_VNNI" else onednn
    assert processor.onednn_isa(flags) == capped


def test_a_system_that_does_not_tell_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "flags", lambda: None)
    assert processor.instruction_set() is None
    assert processor.onednn_isa() is None
