"""Training and evaluation transforms, side by side; both give uint8, which is normalised on the device."""

from torchvision.transforms import v2


def evaluation_transform(img_size: tuple[int, int]) -> v2.Compose:
    """Resize to (H, W) whatever the aspect, as the paper does."""
    return v2.Compose([v2.Resize(img_size), v2.PILToTensor()])


def training_transform(img_size: tuple[int, int], *, augment: bool) -> v2.Compose:
    """As for evaluation; with ``augment`` the paper's set, each with probability one half."""
    if not augment:
        return evaluation_transform(img_size)
    return v2.Compose(
        [
            v2.Resize(img_size),
            v2.PILToTensor(),
            v2.RandomHorizontalFlip(0.5),
            v2.RandomVerticalFlip(0.5),
            v2.RandomApply(
                [v2.RandomAffine(10, translate=(0.1, 0.1), scale=(0.8, 1), interpolation=v2.InterpolationMode.BILINEAR)]
            ),
            # 19 pixels hold three standard deviations of the widest blur; reflection fills less than one picture.
            v2.RandomApply([v2.GaussianBlur(min(19, 2 * min(img_size) - 1), sigma=(0.1, 3.0))]),
        ]
    )
