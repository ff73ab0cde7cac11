"""The user's own images in folders, one folder per class."""

from __future__ import annotations

from trainers.datasets.folders import OwnFolders


class ImageFolder(OwnFolders):
    """Your own images: PATH/train/CLASS/IMAGE and PATH/test/CLASS/IMAGE, with the same classes in both."""

    name = "image_folder"
