"""Reader of CUB-200-2011 (Wah et al. 2011) in its original layout of text files."""

from pathlib import Path

from dataset import DataError, Listing
from dataset.classes import distinct_names


def _read_table(path: Path) -> dict[int, str]:
    """Read a file of lines ``<id> <value>``."""
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise DataError(f"CUB-200 is not in {path.parent}: {path.name} cannot be read; check --dataset_dir") from error
    try:
        return {int(key): value for key, value in (line.split(maxsplit=1) for line in lines if line.strip())}
    except ValueError as error:
        raise DataError(f"{path} has a line that is not '<number> <value>': extract the archive again") from error


def list_cub200(root: Path, split: str) -> Listing:
    """List a split of CUB-200 by its ``train_test_split.txt``, with boxes; labels are positions in ``classes.txt``.

    Args:
        root: the folder with ``images.txt``.
        split: ``train`` or ``val``.

    Raises:
        DataError: a text file is missing or damaged, or a picture has a class that is not in ``classes.txt``.
    """
    names = _read_table(root / "classes.txt")
    files = _read_table(root / "images.txt")
    labels = _read_table(root / "image_class_labels.txt")
    wanted = "1" if split == "train" else "0"
    chosen = [key for key, value in _read_table(root / "train_test_split.txt").items() if value.strip() == wanted]
    boxes, ids = _read_boxes(root / "bounding_boxes.txt"), sorted(names)
    for name, table in (("images.txt", files), ("image_class_labels.txt", labels), ("bounding_boxes.txt", boxes)):
        missing = [key for key in chosen if key not in table]
        if missing:
            raise DataError(f"{root / name} has no line for picture {missing[0]}: extract the archive again")
    return Listing(
        [root / "images" / files[key] for key in chosen],
        _labels(root, {key: labels[key] for key in chosen}, ids),
        distinct_names([_name(names[key]) for key in ids], ids),
        [boxes[key] for key in chosen],
        class_ids=[str(key) for key in ids],
    )


def _name(text: str) -> str:
    """Name of a class, ``Black footed Albatross`` of ``001.Black_footed_Albatross``."""
    number, dot, name = text.strip().partition(".")
    return (name if dot and number.isdigit() else text.strip()).replace("_", " ")


def _labels(root: Path, class_of: dict[int, str], ids: list[int]) -> list[int]:
    """Label of each picture, the position of its class id among those of ``classes.txt``."""
    label_of = {str(own): label for label, own in enumerate(ids)}
    for picture, text in class_of.items():
        if text.strip() not in label_of:
            raise DataError(
                f"{root / 'image_class_labels.txt'}: picture {picture} has the class {text.strip()}, which is not in "
                "classes.txt: add its line there, or remove the picture"
            )
    return [label_of[text.strip()] for text in class_of.values()]


def _read_boxes(path: Path) -> dict[int, tuple[float, float, float, float]]:
    """Read lines ``<id> <left> <top> <width> <height>`` as left, top, right, bottom of each picture."""
    boxes = {}
    for key, text in _read_table(path).items():
        try:
            left, top, width, height = (float(value) for value in text.split())
        except ValueError as error:
            raise DataError(f"{path}: the line of image {key} does not have four numbers: '{text.strip()}'") from error
        boxes[key] = (left, top, left + width, top + height)
    return boxes
