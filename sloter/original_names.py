"""Names of backbones in the published code, and the pretrained weights that they stand for; torch-free.

The published code ships a copy of timm as it was in 2020. Where timm now has newer default weights under the same name,
or another architecture, a bare name keeps the meaning that it had there. The weights are told apart by the names of
their files, which contain a hash, in timm 0.1.28 and in the installed timm.
"""

# Of the names whose default weights have changed. The first five come from the same place (torchvision), but under
# another file name, since torchvision has written its files anew; all others have the same file name as in 2020.
ORIGINAL_TAGS = {
    "resnet18": "tv_in1k",
    "resnet34": "tv_in1k",
    "resnet50": "tv_in1k",
    "resnet101": "tv_in1k",
    "resnet152": "tv_in1k",
    "resnext50_32x4d": "ra_in1k",
    "wide_resnet50_2": "tv_in1k",
    "efficientnet_b1": "ft_in1k",
    "tf_efficientnet_b0": "aa_in1k",
    "tf_efficientnet_b1": "aa_in1k",
    "tf_efficientnet_b2": "aa_in1k",
    "tf_efficientnet_b3": "aa_in1k",
    "tf_efficientnet_b4": "aa_in1k",
    "tf_efficientnet_b5": "ra_in1k",
    "tf_efficientnet_b6": "aa_in1k",
    "tf_efficientnet_b7": "ra_in1k",
    "tf_efficientnet_b8": "ra_in1k",
}
# Of the names whose architecture timm has renamed, and has given to another architecture or to none.
ORIGINAL_ARCHITECTURES = {
    "seresnet18": "legacy_seresnet18",
    "seresnet34": "legacy_seresnet34",
    "seresnet50": "legacy_seresnet50",
    "seresnet101": "legacy_seresnet101",
    "seresnet152": "legacy_seresnet152",
    "seresnext26_32x4d": "legacy_seresnext26_32x4d",
}


def names_model(name: str, stored: str) -> bool:
    """Whether ``--model name`` may mean the architecture that a checkpoint has stored."""
    return stored in (name, ORIGINAL_ARCHITECTURES.get(name))
