import subprocess
import sys

import pytest
import timm

from args import contradiction, expand_runs, parse_args
from sloter.backbone import check_name, create_backbone
from sloter.model_names import architecture, weights_name
from sloter.original_names import ORIGINAL_ARCHITECTURES, ORIGINAL_TAGS
from sloter.weights import continued_weights, initial_weights

# Default weight files of timm 0.1.28, of which the published code has a copy.
FILES_OF_2020 = {
    "resnet26": "resnet26-9aa10e23.pth",
    "resnet26d": "resnet26d-69e92c46.pth",
    "resnext50_32x4d": "resnext50_32x4d_ra-d733960d.pth",
    "wide_resnet50_2": "wide_resnet50_2-95faca4d.pth",
    "wide_resnet101_2": "wide_resnet101_2-32ee1156.pth",
    "efficientnet_b0": "efficientnet_b0_ra-3dd342df.pth",
    "efficientnet_b1": "efficientnet_b1-533bc792.pth",
    "efficientnet_b2a": "efficientnet_b2_ra-bcdf34b7.pth",
    "tf_efficientnet_b0": "tf_efficientnet_b0_aa-827b6e33.pth",
    "tf_efficientnet_b1": "tf_efficientnet_b1_aa-ea7a6ee0.pth",
    "tf_efficientnet_b2": "tf_efficientnet_b2_aa-60c94f97.pth",
    "tf_efficientnet_b3": "tf_efficientnet_b3_aa-84b4657e.pth",
    "tf_efficientnet_b4": "tf_efficientnet_b4_aa-818f208c.pth",
    "tf_efficientnet_b5": "tf_efficientnet_b5_ra-9a3e5369.pth",
    "tf_efficientnet_b6": "tf_efficientnet_b6_aa-80ba17e4.pth",
    "tf_efficientnet_b7": "tf_efficientnet_b7_ra-6c08e654.pth",
    "tf_efficientnet_b8": "tf_efficientnet_b8_ra-572d5dd9.pth",
    "tf_efficientnet_b0_ns": "tf_efficientnet_b0_ns-c0e6a31c.pth",
    "gluon_resnet50_v1b": "gluon_resnet50_v1b-0ebe02e2.pth",
    "ssl_resnet18": "semi_supervised_resnet18-d92f0530.pth",
    "seresnet18": "seresnet18-4bb0ce65.pth",
    "seresnet34": "seresnet34-a4004e63.pth",
    "seresnet50": "se_resnet50-ce0d4300.pth",
    "seresnet101": "se_resnet101-7e38fcc6.pth",
    "seresnet152": "se_resnet152-d17c99b7.pth",
    "seresnext26_32x4d": "seresnext26_32x4d-65ebdb501.pth",
}
# Written anew by torchvision, under another hash.
TORCHVISION = {
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
}  # written anew by torchvision: another hash


@pytest.mark.parametrize(("name", "file"), FILES_OF_2020.items())
def test_a_name_of_the_published_code_means_the_weight_file_that_it_had(name, file):
    assert timm.get_pretrained_cfg(weights_name(name)).url.rpartition("/")[2] == file


def test_every_entry_of_the_tables_is_established():
    assert set(ORIGINAL_TAGS) - TORCHVISION <= set(FILES_OF_2020)
    assert set(ORIGINAL_ARCHITECTURES) <= set(FILES_OF_2020)
    for name in TORCHVISION:
        assert timm.get_pretrained_cfg(weights_name(name)).url.startswith(f"https://download.pytorch.org/models/{name}")


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("resnet18", "resnet18.tv_in1k"),
        ("resnet34", "resnet34.tv_in1k"),
        ("resnet50", "resnet50.tv_in1k"),
        ("resnet18.a1_in1k", "resnet18.a1_in1k"),
        ("resnest26d", "resnest26d.gluon_in1k"),
        ("resnest50d", "resnest50d.in1k"),
        ("convnext_tiny", "convnext_tiny.in12k_ft_in1k"),
        ("ig_resnext101_32x48d", "ig_resnext101_32x48d"),
        ("test_resnet", "test_resnet.r160_in1k"),
    ],
)
def test_other_names_mean_the_default_of_timm(name, full):
    assert weights_name(name) == full


def test_the_weights_and_their_name_reach_the_run(monkeypatch):
    asked = []
    monkeypatch.setattr("sloter.backbone.pretrained_source", lambda name: {})
    create_model = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained=False, **options: (
        asked.append((name, pretrained)), create_model(name, **options))[1])  # fmt: skip
    for name in ("resnet18", "seresnet18"):
        create_backbone(name, num_classes=0, in_chans=3, img_size=(64, 64), pretrained=True)
    assert asked == [("resnet18.tv_in1k", True), ("legacy_seresnet18.in1k", True)]
    start = initial_weights("seresnet18", in_chans=3, pretrained=True)
    assert (start.source, start.backbone) == ("legacy_seresnet18.in1k", "legacy_seresnet18")
    start = initial_weights("resnet18", in_chans=3, pretrained=True, file=("mine.pth", {}))
    assert (start.source, start.backbone) == ("mine.pth", "resnet18")
    assert initial_weights("resnet18", in_chans=3, pretrained=False).source == ""


def test_without_weights_a_name_that_timm_has_given_away_means_the_model_of_timm():
    assert architecture("seresnet50", pretrained=False) == "seresnet50"
    assert architecture("seresnext26_32x4d", pretrained=False) == "legacy_seresnext26_32x4d"  # timm has no such name
    check_name("seresnext26_32x4d")


def test_the_bare_name_does_not_contradict_a_checkpoint_of_the_renamed_architecture():
    run = expand_runs(parse_args(["--model", "seresnet18"], "test"))[0]
    assert contradiction(run, {"backbone": "legacy_seresnet18", "use_slot": False}) is None
    assert "resnet18" in contradiction(run, {"backbone": "resnet18", "use_slot": False})


def test_the_table_of_names_is_free_of_torch():
    code = "import sys, sloter.original_names; sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "stored", "backbone"),
    [
        ("seresnet18", "legacy_seresnet18", "legacy_seresnet18"),
        ("seresnet18", "seresnet18", "seresnet18"),  # of timm, from an earlier version or without weights
        ("resnet18", "resnet34", "resnet18"),  # an error later
    ],
)
def test_a_continued_run_has_the_architecture_and_the_origin_of_its_checkpoint(name, stored, backbone):
    state = {"model_config": {"backbone": stored, "stem": "3x3"}}
    found = continued_weights(name, state)
    assert (found.backbone, found.stem, found.source) == (backbone, "3x3", "")
    assert continued_weights(name, {**state, "initial_weights": "a.b"}).source == "a.b"
