"""The classifiers of torchvision, always with random weights.

`torchvision:NAME` gives any of them; the three most common in papers also have short
names.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from trainers.backbones import Backbone, Extractor, InputShape

# A literal list, because asking torchvision would import torch while planning.
Architecture = Literal[
    "alexnet",
    "convnext_base",
    "convnext_large",
    "convnext_small",
    "convnext_tiny",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
    "efficientnet_v2_l",
    "efficientnet_v2_m",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mnasnet0_75",
    "mnasnet1_0",
    "mnasnet1_3",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "regnet_x_16gf",
    "regnet_x_1_6gf",
    "regnet_x_32gf",
    "regnet_x_3_2gf",
    "regnet_x_400mf",
    "regnet_x_800mf",
    "regnet_x_8gf",
    "regnet_y_128gf",
    "regnet_y_16gf",
    "regnet_y_1_6gf",
    "regnet_y_32gf",
    "regnet_y_3_2gf",
    "regnet_y_400mf",
    "regnet_y_800mf",
    "regnet_y_8gf",
    "resnet101",
    "resnet152",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
    "squeezenet1_0",
    "squeezenet1_1",
    "swin_b",
    "swin_s",
    "swin_t",
    "swin_v2_b",
    "swin_v2_s",
    "swin_v2_t",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "vit_b_16",
    "vit_b_32",
    "vit_h_14",
    "vit_l_16",
    "vit_l_32",
    "wide_resnet101_2",
    "wide_resnet50_2",
]

SMALL = 64
"""`stem="auto"` treats images less high or wide than this, in pixels, as small."""

_HAVE_SMALL_STEMS = ("resnet", "resnext", "wide_resnet", "densenet")


class _Classifier(Backbone):
    stem: Literal["auto", "small", "imagenet"] = "auto"
    """`small`: ResNets and DenseNets start with a 3x3 convolution of stride 1 without pooling, because
    ImageNet's stem would shrink a 32x32 image to 8x8. `auto`: small below 64 pixels, if the network has one."""

    @property
    def _architecture(self) -> str:
        return self.name

    @property
    def _has_small_stem(self) -> bool:
        return self._architecture.startswith(_HAVE_SMALL_STEMS)

    @model_validator(mode="after")
    def _stem_exists(self) -> _Classifier:
        if self.stem == "small" and not self._has_small_stem:
            raise ValueError(f"{self._architecture} has no small stem, only ResNets and DenseNets have")
        return self

    def build(self, shape: InputShape) -> Extractor:
        """The network without its last layer, its weights drawn as torchvision draws them.

        Raises:
            ValueError: The architecture cannot take images of that shape.
        """
        from trainers.networks import torchvision

        return torchvision.extractor(self._architecture, shape, small_stem=self._takes_small_stem(shape))

    def _takes_small_stem(self, shape: InputShape) -> bool:
        small = min(shape.height, shape.width) < SMALL
        return self.stem == "small" or (self.stem == "auto" and small and self._has_small_stem)


class Torchvision(_Classifier):
    """Any classifier of torchvision, as `torchvision:NAME`."""

    name = "torchvision"
    # Excluded from dumps: `name` already contains it.
    architecture: Architecture = Field(exclude=True)
    """torchvision's name of the network, written behind the colon."""

    @property
    def key(self) -> str:
        """`torchvision:NAME`."""
        return f"{self.name}:{self.architecture}"

    @property
    def _architecture(self) -> str:
        return self.architecture


class ResNet18(_Classifier):
    """Residual network of 18 layers (He et al. 2016, arXiv 1512.03385)."""

    name = "resnet18"


class ResNet50(_Classifier):
    """Residual network of 50 layers (He et al. 2016, arXiv 1512.03385)."""

    name = "resnet50"


class DenseNet121(_Classifier):
    """Densely connected network of 121 layers (Huang et al. 2017, arXiv 1608.06993)."""

    name = "densenet121"
