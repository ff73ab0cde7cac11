"""The clusters that users write, and the devices that cells record."""

from __future__ import annotations

import pytest

from orchestrator.errors import RequestError
from orchestrator.pricing.devices import DEVICES, cluster, named


@pytest.mark.parametrize("text", ["8 x a100 + 2 x l4", "8xA100+2xL4", "8 × a100 + l4 + l4", "4 x a100+2*l4 + 4 x a100"])
def test_a_cluster_is_read_however_it_is_spaced(text: str) -> None:
    assert cluster(text).parts == ((8, DEVICES["a100"]), (2, DEVICES["l4"]))
    assert cluster(text).gpus == 10


def test_cores_are_no_gpus() -> None:
    assert cluster("64 x cpu").gpus == 0
    assert str(cluster("64xcpu")) == "64 x cpu"


@pytest.mark.parametrize("text", ["", "8 x", "x a100", "0 x a100", "8 a100", "8 x a100 +", "-1 x a100", "1.5 x a100"])
def test_what_is_no_cluster_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(RequestError, match="write '8 x a100"):
        cluster(text)


def test_an_unknown_device_is_named_with_the_nearest_one() -> None:
    with pytest.raises(RequestError, match=r"no device is called 'a1O'.*Did you mean 'a10'.*Known: t4, v100"):
        cluster("8 x a1O")


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("NVIDIA A100-SXM4-40GB", "a100"),
        ("NVIDIA A10", "a10"),
        ("NVIDIA H200", "h200"),
        ("Tesla V100-SXM2-16GB", "v100"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40S", "l40s"),
    ],
)
def test_torchs_name_of_a_gpu_is_recognised(told: str, name: str) -> None:
    assert named(told) == DEVICES[name]


def test_a_gpu_that_is_not_in_the_table_is_taken_for_none_that_is() -> None:
    assert named("NVIDIA GeForce GTX 1080 Ti") is None
    assert named("NVIDIA A1000") is None
