"""Pictures to explain: a choice of pictures of a split, or files of the user."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from PIL import Image

from dataset.folder import titled_pictures
from dataset.pictures import PictureDataset, open_picture


class Source(NamedTuple):
    """Picture to explain, with its title and label."""

    title: str
    picture: Image.Image  # grey or RGB, of any size
    label: int | None  # None if unknown


class Sources:
    """Sequence of the pictures to explain, each opened when it is needed.

    Args:
        in_chans: channels of the opened pictures, 1 or 3.
        data: the split; None for files.
        numbers: indices of the chosen pictures in the split.
        files: files and folders of pictures, used if ``data`` is None.

    Raises:
        DataError: see :func:`dataset.folder.titled_pictures`.
    """

    def __init__(
        self, in_chans: int, *, data: PictureDataset | None, numbers: Sequence[int], files: Sequence[str] | None
    ) -> None:
        self.in_chans, self.data, self.numbers = in_chans, data, numbers
        self.files = titled_pictures(files or ()) if data is None else {}
        self.titles = list(self.files) if data is None else [str(number) for number in numbers]

    def __len__(self) -> int:
        return len(self.titles)

    def __iter__(self) -> Iterator[Source]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Source:
        title = self.titles[index]
        if self.data is None:
            return Source(title, open_picture(self.files[title], self.in_chans), None)
        number = self.numbers[index]
        return Source(title, self.data.picture(number), self.data.listing.labels[number])
