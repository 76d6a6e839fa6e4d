"""ImageNet (ILSVRC 2012) as class folders: ``train/<wnid>/`` and ``val/<wnid>/``."""

from pathlib import Path

from timm.data import ImageNetInfo

from dataset import Listing
from dataset.folder import class_folders, list_class_folders


def list_imagenet(root: Path, split: str) -> Listing:
    """The classes in the order of their sorted wnids, named by their synset."""
    wnids = [folder.name for folder in class_folders(root / "train")]
    info = ImageNetInfo()
    known = set(info.label_names())
    names = [info.label_name_to_description(wnid).split(",")[0] if wnid in known else wnid for wnid in wnids]
    return list_class_folders([root / split / wnid for wnid in wnids], names)
