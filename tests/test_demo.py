"""The page of demo.py in a real browser, against the numbers of the Python interface."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import demo
import hubconf
from dataset.mnist import MNIST5K_FILE
from engine.demo.examples import choose_examples
from tools import checkpoint

ROOT = Path(__file__).parents[1]
MAX_UPLOAD = 0.5  # megabytes
GRADIO_SAYS = "Method not implemented."  # at every upload, in version 6.31


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Address of a running page; Ctrl-C must end it with one line, although pages are open, and nothing is left."""
    pytest.importorskip("gradio", reason="the page needs gradio: pip install -r requirements-demo.txt")
    temporary = tmp_path_factory.mktemp("tmp")
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "TMPDIR": str(temporary)}
    command = [sys.executable, str(ROOT / "demo.py"), "--port", "0", "--max_upload", str(MAX_UPLOAD)]
    folder = tmp_path_factory.mktemp("elsewhere")
    process = subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    line = process.stdout.readline()
    assert line, process.stderr.read()
    address = re.search(r"open (http://127\.0\.0\.1:\d+) in a browser; Ctrl-C ends the page", line)[1]
    yield address
    with urllib.request.urlopen(f"{address}/gradio_api/heartbeat/open"):  # as an open page has it
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    told, line, rest = process.stderr.read().partition("demo.py: interrupted\n")
    assert (process.stdout.read(), line, rest) == ("", "demo.py: interrupted\n", "")
    assert told.count("Traceback") == told.count("InvalidPathError: ")  # Gradio reports what it refuses
    assert [*temporary.iterdir()] == [] == [*folder.iterdir()]


@pytest.fixture(scope="module")
def model():
    return hubconf.digits()


@pytest.fixture(scope="module")
def opened(module_tab, server):
    """The page as it opens, and its first answer."""
    page = module_tab(server)
    page.locator("#view .term").first.wait_for()
    return page, page.locator(".answer").inner_text()


@pytest.fixture
def page(module_tab, opened, server):
    """The page with its first example; it must not complain, nor ask for anything from outside."""
    page, _ = opened
    for label in "10":
        page.locator("#examples button", has_text=label).first.click()
        page.locator(".verdict", has_text=f"the label is {label}").wait_for()
    module_tab.complaints.clear()
    yield page
    assert [text for text in module_tab.complaints if text != GRADIO_SAYS] == []
    assert all(url.startswith((f"{server}/", "data:", f"blob:{server}")) for url in module_tab.urls)


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """File of a 5 that the model was trained on, so that it is none of the examples."""
    with np.load(MNIST5K_FILE) as file:
        pixels = file["images"][file["labels"] == 5][0]
    path = tmp_path_factory.mktemp("five") / "a five.png"
    Image.fromarray(pixels).save(path)
    return path


def drop(page, file):
    page.set_input_files("#upload input[type=file]", file)


def explained(page, file):
    drop(page, file)
    page.locator(".answer .verdict").wait_for(state="detached")


def choose(page, control, text):
    page.locator(f"#{control} input").click()
    page.get_by_role("option", name=re.compile(f"^{re.escape(text)} ")).click()
    page.get_by_role("option").first.wait_for(state="detached")


def terms(page, view):
    """Numbers of a sum by their names, as they are on the page."""
    texts = [text.split("\n") for text in page.locator(f"#{view} .term").all_inner_texts()]
    return {name: number.replace("\u2212", "-").replace(" ", "") for number, name in texts}


def sums(result, name):
    """The same numbers from the tensors; what the classes share is what the other printed numbers leave."""
    one = result.for_class(name)
    above, below, logit = (f"{float(value):.1f}" for value in (one.why.sum(), one.why_not.sum(), one.logit))
    common = round(float(logit) - float(above) + float(below), 1) + 0.0
    assert abs(common - float(one.common.sum())) < 0.15 + 1e-6
    return {"for": above, "against": f"-{below}", "shared by the classes": f"{common:+.1f}", "logit": f"={logit}"}


def wait_for(page, view, words):
    page.locator(f"#{view}", has_text=words).wait_for()


def test_the_page_opens_with_the_example_that_the_model_is_least_sure_about(opened, model):
    data = model.load_split("MNIST5k", dataset_dir=None, num_classes=10, img_size=(56, 56))
    examples = choose_examples(data, 12)
    found = [(float(model.explain(e.picture).probabilities[e.label]), e.label) for e in examples]
    assert opened[1].endswith(f"the label is {min(found)[1]}")


def test_a_dropped_picture_has_the_numbers_of_the_python_interface(page, model, five):
    result = model.explain(five)
    explained(page, five)
    share = f"{100 * float(result.probabilities.max()):.1f}"
    assert page.locator(".answer").inner_text() == f"The model sees {result.predicted}, probability {share}\xa0%."
    assert terms(page, "view") == sums(result, result.predicted)
    order = result.probabilities.argsort(descending=True, stable=True).tolist()
    names = [f"{c}\n{100 * float(result.probabilities[c]):.1f}\xa0%" for c in order]
    assert page.locator("#classes button").all_inner_texts() == names
    assert page.locator("#chosen input").input_value().startswith(result.predicted)


def test_a_class_is_chosen_by_its_map_or_from_the_list(page, model, five):
    result = model.explain(five)
    explained(page, five)
    page.locator("#classes button", has_text=re.compile("^3")).click()
    wait_for(page, "view", "its evidence about 3")
    assert terms(page, "view") == sums(result, "3")
    assert page.locator("#classes button[aria-pressed=true]").get_attribute("data-number") == "3"
    page.wait_for_function("document.querySelector('#chosen input').value.startsWith('3 ')")
    choose(page, "chosen", "8")
    wait_for(page, "view", "its evidence about 8")
    assert terms(page, "view") == sums(result, "8")


def test_a_contrast_of_two_chosen_classes_is_the_log_of_the_ratio(page, model, five):
    result = model.explain(five)
    explained(page, five)
    choose(page, "first", "3")
    choose(page, "other", "9")
    wait_for(page, "contrast", "3 rather than 9")
    contrast = result.contrast("3", "9").numpy()
    nats = float(result.logits[3] - result.logits[9])
    assert terms(page, "contrast") == {
        "red": f"{contrast.clip(0).sum():.1f}", "blue": f"-{-contrast.clip(None, 0).sum():.1f}", "nats": f"={nats:.1f}",
    }  # fmt: skip
    words = page.locator("#contrast").inner_text()
    assert "red: for 3" in words and "blue: for 9" in words and f"3 rather than 9: {nats:.1f} nats" in words
    choose(page, "other", "3")
    wait_for(page, "contrast", "Choose two different classes.")


def test_a_file_that_is_no_picture_gives_a_message(page, model, five, tmp_path):
    bad = tmp_path / "notes<b>.jpg"
    bad.write_text("no picture")
    drop(page, bad)
    alert = page.locator(".answer[role=alert]")
    alert.wait_for()
    text = alert.inner_text()
    assert text.startswith("the picture notes") and "cannot be read: cannot identify image file" in text
    assert text.endswith("give a picture, such as a PNG or a JPEG") and "/" not in text and "Traceback" not in text
    assert not page.locator("#view").is_visible()
    page.locator("#examples button").first.click()
    page.locator("#view .term").first.wait_for()
    assert page.locator(".answer .verdict").inner_text().endswith("the label is 0") and not alert.is_visible()


def test_a_file_above_the_limit_gives_a_message(tab, server, tmp_path):
    page = tab(server)
    large = tmp_path / "large.png"
    large.write_bytes(bytes(int(MAX_UPLOAD * 2**20) + 1000))
    drop(page, large)
    page.get_by_text('exceed the maximum allowed size of 512.0 Kb: "large.png"').first.wait_for()
    tab.close()
    tab.complaints.clear()  # the browser says that the file was not loaded, sooner or later


def test_a_request_opens_no_picture_of_the_machine(server, five):
    """As the page asks for an uploaded file, but with the path of another one."""

    def read(path, content=None):
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(f"{server}{path}", body, {"Content-Type": "application/json"})
        return urllib.request.urlopen(request, timeout=60)

    upload = next(each for each in json.load(read("/config"))["dependencies"] if each["targets"][0][1] == "upload")
    file = {"path": str(five), "meta": {"_type": "gradio.FileData"}}
    read("/gradio_api/queue/join", {"fn_index": upload["id"], "data": [file], "session_hash": "a"}).close()
    with read("/gradio_api/queue/data?session_hash=a") as events:
        ended = next(line for line in events if b"process_completed" in line)
    assert json.loads(ended.removeprefix(b"data: "))["success"] is False


def test_the_slider_sets_the_opacity_of_all_maps(page):
    def opacities():
        return set(page.locator(".layer").evaluate_all("maps => maps.map(e => getComputedStyle(e).opacity)"))

    page.emulate_media(reduced_motion="reduce")
    assert opacities() == {"0.8"} and page.locator(".layer").count() == 12
    page.locator("#opacity input[type=range]").press("End")
    page.wait_for_function("getComputedStyle(document.querySelector('.layer')).opacity == '1'")
    page.locator("#opacity input[type=range]").press("Home")
    page.wait_for_function("getComputedStyle(document.querySelector('.layer')).opacity == '0'")
    assert opacities() == {"0"}


@pytest.mark.parametrize(("button", "name"), [("save", "explanation.png"), ("save-contrast", r"versus_\d.png")])
def test_the_figures_are_downloaded(page, tmp_path, button, name):
    with page.expect_download() as download:
        page.click(f"#{button}")
    assert re.fullmatch(name, download.value.suggested_filename)
    download.value.save_as(tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.info["Description"].startswith("56 x 56 pixels") and min(picture.size) > 300


def test_the_keyboard_chooses_an_example(page):
    assert {text.strip() for text in page.locator("#examples button").all_inner_texts()} == {*"0123456789"}
    button = page.locator("#examples button").last
    label = button.inner_text().strip()
    button.focus()
    page.keyboard.press("Enter")
    page.locator(".verdict", has_text=f"the label is {label}").wait_for()
    page.locator("#examples button").nth(0).press("Enter")  # two at once: the last one counts
    page.locator("#examples button").nth(4).press("Enter")
    page.locator(".verdict", has_text="the label is 2").wait_for()


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_a_phone_scrolls_only_vertically(tab, server, mode):
    page = tab(server, width=390, mode=mode)
    page.locator("#view .term").first.wait_for()
    assert page.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [390, 390]
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    back = [int(part) for part in re.findall(r"\d+", back)[:3]]
    assert min(back) > 200 if mode == "light" else max(back) < 60


def test_a_model_or_data_that_cannot_be_opened_is_one_line(fails, tmp_path):
    assert "nowhere.pth" in fails("demo", "--port 0 --checkpoint nowhere.pth")
    assert "config.json cannot be read" in fails("demo", f"--port 0 --checkpoint {tmp_path}")
    config = {"backbone": "test_resnet", "num_classes": 3, "use_slot": False, "in_chans": 3, "img_size": (32, 32)}
    plain = tmp_path / "plain.pth"
    checkpoint.save(plain, {
        "model": hubconf.scouter(**config).state_dict(), "model_config": config, "epoch": 0,
        "data_config": {"dataset": "Folder", "mean": (0.5,) * 3, "std": (0.5,) * 3, "class_names": ["a", "b", "c"]},
        "train_config": {"lambda_value": 1.0, "power": 2.0},
    })  # fmt: skip
    assert "a plain classifier, which has no maps of its own" in fails("demo", f"--port 0 --checkpoint {plain}")
    missing = f"MNIST is not in {tmp_path}: give its --dataset_dir, or --examples 0"
    assert missing in fails("demo", f"--port 0 --dataset MNIST --dataset_dir {tmp_path}")


def test_data_of_the_training_that_are_not_there_are_a_note(model, tmp_path, caplog):
    args = demo.build_parser().parse_args([])
    run = demo.tested_run(args)
    run.dataset, run.dataset_dir = "MNIST", str(tmp_path)
    assert demo.choose(args, run, model) == [] and "no examples: MNIST is not in" in caplog.text
