"""Images of one's own in folders, one folder a class."""

from __future__ import annotations

from trainers.datasets.folders import OwnFolders


class ImageFolder(OwnFolders):
    """Images of your own: PATH/train/CLASS/IMAGE and PATH/test/CLASS/IMAGE, with the same classes in both."""

    name = "image_folder"
