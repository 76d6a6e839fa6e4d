import http.server
import logging
import re
import threading
import time

import pytest
import timm
import torch
from PIL import Image
from torchvision.transforms import v2

from sloter import ModelError
from sloter.slot_model import build_model
from sloter.weights import pretrained_source, pretrained_statistics
from tools.checkpoint import read_state_dict


def build(**options):
    return build_model(**{"backbone": "test_resnet", "num_classes": 5, "img_size": (64, 64), **options})


def test_weights_reach_the_backbone_and_a_classifier_left_out_is_reported(caplog):
    donor = timm.create_model("test_resnet", num_classes=7).state_dict()
    with caplog.at_level(logging.WARNING):
        model = build(weights=donor, weights_source="donor.pth")
    assert "donor.pth: its classifier of 7 classes is left out" in caplog.text
    torch.testing.assert_close(model.backbone.layer1[0].conv1.weight, donor["layer1.0.conv1.weight"])


def test_statistics_are_those_of_the_weights():
    assert pretrained_statistics("tf_efficientnet_lite0") == {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    assert pretrained_statistics("resnet18") == {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    assert pretrained_statistics("unheard_of") == {}


def test_a_classifier_of_the_same_size_is_loaded():
    donor = timm.create_model("test_resnet", num_classes=5).state_dict()
    model = build(weights=donor, use_slot=False)
    torch.testing.assert_close(model.backbone.fc.weight, donor["fc.weight"])


def test_a_one_channel_stem_is_the_sum_of_three_channels():
    donor = timm.create_model("test_resnet").state_dict()
    first = timm.create_model("test_resnet").pretrained_cfg["first_conv"] + ".weight"
    model = build(weights=donor, in_chans=1)
    torch.testing.assert_close(model.backbone.state_dict()[first], donor[first].sum(1, keepdim=True))


def test_a_stem_of_four_channels_cannot_become_one_of_one_channel(caplog):
    donor = timm.create_model("test_resnet", in_chans=4).state_dict()
    build(weights=donor, in_chans=1)
    assert "1 of another shape: " in caplog.text


def test_weights_of_a_cut_backbone_fit_a_backbone_cut_alike():
    donor = build(use_slot=False, out_stage=2)
    state = {k.removeprefix("backbone."): v for k, v in donor.state_dict().items()}
    model = build(weights=state, out_stage=2)
    torch.testing.assert_close(model.backbone.layer2[0].conv1.weight, donor.backbone.layer2[0].conv1.weight)


def test_tensors_that_do_not_match_are_counted_and_listed(caplog):
    donor = timm.create_model("test_resnet").state_dict()
    needed = sum(not name.startswith("fc.") and "num_batches" not in name for name in donor)
    del donor["layer2.0.conv1.weight"]
    donor["strange.weight"] = torch.zeros(1)
    donor["layer3.0.conv1.weight"] = torch.zeros(1, 1, 1, 1)
    model = build(weights=donor, weights_source="file.pth")
    assert f"file.pth: {needed - 2} of the {needed} tensors of the backbone 'test_resnet' are loaded" in caplog.text
    for problem in ("1 missing: layer2.0.conv1.weight", "1 unexpected: strange.weight",
                    "1 of another shape: layer3.0.conv1.weight"):  # fmt: skip
        assert problem in caplog.text
    torch.testing.assert_close(model.backbone.layer1[0].conv1.weight, donor["layer1.0.conv1.weight"])


@pytest.mark.parametrize("loaded", [0.55, 0.45])
def test_fewer_than_half_of_the_tensors_are_an_error(loaded):
    donor = timm.create_model("test_resnet").state_dict()
    needed = [name for name in donor if not name.startswith("fc.") and "num_batches" not in name]
    donor = {name: donor[name] for name in needed[: round(loaded * len(needed))]}
    if loaded > 0.5:
        build(weights=donor)
        return
    with pytest.raises(ModelError) as caught:
        build(weights=donor, weights_source="file.pth")
    expected = (
        rf"file.pth does not fit the backbone 'test_resnet': {len(donor)} of the {len(needed)} tensors match; \d+ "
    )
    assert re.match(expected + "missing: .*; give weights of this model$", str(caught.value))


WRAPPINGS = {
    "module": lambda sd: {"state_dict": prefixed(sd, "module.")},
    "compiled": lambda sd: {"model": prefixed(sd, "module._orig_mod.")},
    "compiled inside": lambda sd: {key.replace("layer1.", "layer1._orig_mod."): value for key, value in sd.items()},
    "lightning": lambda sd: {"state_dict": prefixed(sd, "model.backbone."), "epoch": 3, "hyper_parameters": {}},
    "project": lambda sd: {"model": {**prefixed(sd, "backbone."), "slot.initial_slots": torch.zeros(2, 3)}, "epoch": 3},
    "ema": lambda sd: {"model_ema": {"module": sd, "num_updates": torch.tensor(4)}, "epoch": 3},
    "state dict ema": lambda sd: {"state_dict_ema": prefixed(sd, "module."), "epoch": 3},
    "dino": lambda sd: {"student": prefixed(zeros(sd), "module.backbone."), "teacher": prefixed(sd, "backbone."),
                        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}},
    "moco": lambda sd: {"state_dict": {**prefixed(sd, "module.encoder_q."), "module.queue": torch.zeros(2)}},
    "encoder": lambda sd: {"encoder": sd, "decoder": {"w": torch.zeros(2)}},
    "with plain values": lambda sd: {**sd, "version": 3, "name": "mine"},
}  # fmt: skip


def prefixed(state, prefix):
    return {prefix + key: value for key, value in state.items()}


def zeros(state):
    return {key: torch.zeros_like(value) for key, value in state.items()}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_weights_load_from_whatever_they_are_wrapped_in(wrapping, tmp_path, caplog):
    donor = timm.create_model("test_resnet", num_classes=0).state_dict()
    torch.save(WRAPPINGS[wrapping](donor), tmp_path / "w.pth")
    model = build(weights=read_state_dict(tmp_path / "w.pth"), weights_source="w.pth")
    assert all(torch.equal(value, donor[key]) for key, value in model.backbone.state_dict().items())
    needed = sum("num_batches" not in name for name in donor)
    assert f"w.pth: {needed} of the {needed} tensors of the backbone 'test_resnet' are loaded\n" in caplog.text


def test_wrapped_weights_are_converted_by_their_family():
    donor = timm.create_model("test_vit", num_classes=0).state_dict()
    model = build(backbone="test_vit", img_size=(160, 96), weights=prefixed(donor, "teacher.backbone."))
    torch.testing.assert_close(model.backbone.blocks[0].attn.qkv.weight, donor["blocks.0.attn.qkv.weight"])
    assert not torch.equal(model.backbone.pos_embed, torch.zeros_like(model.backbone.pos_embed))
    assert model.backbone.pos_embed.shape != donor["pos_embed"].shape


def test_without_a_network_pretrained_weights_fail_fast_with_both_remedies(monkeypatch, tmp_path):
    # A closed port on this machine: it never answers, with or without a network.
    monkeypatch.setattr("sloter.weights.huggingface_hub.hf_hub_url", lambda repo, file: f"http://127.0.0.1:9/{file}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(ModelError) as caught:
        build(backbone="resnet18", pretrained=True)
    assert time.monotonic() - start < 15
    message = str(caught.value)
    assert "'resnet18'" in message and "--pre_trained false" in message and "--backbone_weights FILE" in message
    assert "\n" not in message


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Replacement of the hub on this machine that answers every request with one code."""
    servers = []

    def start(code):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.send_response(code)
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.end_headers()

            do_GET = do_HEAD

            def log_message(self, *args):
                pass

        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{servers[-1].server_address[1]}"
        monkeypatch.setattr("sloter.weights.huggingface_hub.hf_hub_url", lambda repo, file: f"{address}/{repo}/{file}")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    yield start
    for server in servers:
        server.shutdown()


@pytest.mark.parametrize("code", [404, 503])
def test_a_hub_that_refuses_is_an_error_with_both_remedies(hub, code):
    hub(code)
    start = time.monotonic()
    with pytest.raises(ModelError, match=rf"answers {code}\): .*--pre_trained false.*--backbone_weights FILE"):
        build(backbone="resnet18", pretrained=True)
    assert time.monotonic() - start < 15


@pytest.mark.parametrize("code", [200, 302])
def test_a_hub_that_answers_or_redirects_is_available(hub, code):
    hub(code)
    assert pretrained_source("resnet18") == {}


def test_weights_of_another_family_are_listed_too():
    donor = timm.create_model("test_efficientnet").state_dict()
    with pytest.raises(ModelError, match=r"does not fit the backbone 'convnext_atto': .* missing"):
        build(backbone="convnext_atto", weights=donor)


def test_a_hub_that_never_answers_is_an_error(monkeypatch):
    monkeypatch.setattr("sloter.weights.HUB_TIMEOUT", 0.2)
    monkeypatch.setattr("sloter.weights._request_fault", lambda address: time.sleep(30))
    start = time.monotonic()
    with pytest.raises(ModelError, match="no answer"):
        pretrained_source("resnet34")
    assert time.monotonic() - start < 5


def test_a_model_without_pretrained_weights_is_an_error():
    name = next(name for name in timm.list_models() if not timm.is_model_pretrained(name))
    with pytest.raises(ModelError, match=f"timm has no pretrained weights for '{name}'"):
        pretrained_source(name)


def test_efficientnet_lite0_weights_load_and_classify(real_data):
    file = real_data.parent / "weights" / "tf_efficientnet_lite0.safetensors"
    model = build_model(
        backbone="tf_efficientnet_lite0", num_classes=1000, use_slot=False, img_size=(224, 224),
        weights=read_state_dict(file),
    ).eval()  # fmt: skip
    wnids = timm.data.ImageNetInfo().label_names()
    transform = v2.Compose(
        [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]
    )
    correct = total = 0
    for folder in sorted((real_data / "imagenet/ILSVRC/Data/CLS-LOC/val").iterdir()):
        files = sorted(folder.iterdir())[:6]
        images = torch.stack([transform(Image.open(file).convert("RGB").resize((224, 224))) for file in files])
        with torch.no_grad():
            predicted = model(images).logits.argmax(1).tolist()
        correct += sum(wnids[label] == folder.name for label in predicted)
        total += len(files)
    assert correct / total > 0.5  # chance is one in a thousand


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_with_their_own_remedy(value):
    donor = timm.create_model("test_resnet").state_dict()
    donor["layer2.0.conv1.weight"][0, 0, 0, 0] = value
    with pytest.raises(
        ModelError, match=r"file.pth: 1 parameters .* not finite \(layer2.0.conv1.weight\); give an earlier"
    ):
        build(weights=donor, weights_source="file.pth")
