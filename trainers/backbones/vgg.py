"""VGG networks for small images (Simonyan & Zisserman 2015, arXiv 1409.1556)."""

from __future__ import annotations

from trainers.backbones import Backbone, Extractor, InputShape


class VGG11Small(Backbone):
    """VGG of 11 layers with batch normalisation, for small images (Simonyan & Zisserman 2015, arXiv 1409.1556).

    The usual variant for CIFAR: the paper's configuration A with batch normalisation after
    each convolution, and with one linear layer, the classifier, instead of three.
    """

    name = "vgg11_small"

    def build(self, shape: InputShape) -> Extractor:
        """The network (n, C, H, W) -> (n, 512), convolutions drawn He normal by fan-out."""
        from trainers.networks import vgg

        return Extractor(vgg.vgg11(shape), width=vgg.WIDTH)
