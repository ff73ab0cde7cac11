"""ImageNet, in the layout of its archives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.datasets.folders import ClassFolders

if TYPE_CHECKING:
    from pathlib import Path


class ImageNet(ClassFolders):
    """ImageNet (ILSVRC 2012): 1.33 million photographs, 1000 classes (Russakovsky et al. 2015).

    The official test labels are not public, so the validation images are the test split. At
    224 pixels the decoded images take 200 GB, at 64 pixels 16 GB. The classes are the folders
    that exist, so a subset (ImageNet-100) works too.
    """

    name = "imagenet"
    classes = 1000
    train_images = 1_281_167
    test_images = 50_000
    official = (
        "md5 1d675b47d978889d74fa0da5fadfb00e  ILSVRC2012_img_train.tar, "
        "md5 29b22e2961454d5413ddabcf34fc5622  ILSVRC2012_img_val.tar"
    )
    parts = ("train", "val")
    origin = (
        "Here CLASS is an id such as n01440764. Get ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from "
        "https://image-net.org/download.php, unpack them (each class is an archive of its own) and sort val into "
        "class folders (github.com/soumith/imagenetloader.torch: valprep.sh), or link the folder to where they are; "
        "'tiny_imagenet' is a small relative, and 'digits' needs no files."
    )

    def _root(self, data_dir: Path) -> Path:
        return data_dir / "imagenet"
