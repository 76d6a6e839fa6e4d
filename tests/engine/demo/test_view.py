import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from engine.demo import view
from engine.explain.result import PictureExplanation

NASTY = """<script>alert("x")</script>'"&"""


def a_result(why, why_not, common, *, names=None, negative=False, two_sided=True, size=(20, 10)):
    """Explanation with these parts (c, h, w) of the evidence."""
    why, why_not, common = (torch.tensor(part, dtype=torch.float32) for part in (why, why_not, common))
    logits = (why - why_not + common).sum((1, 2))
    evidence = why_not if negative and not two_sided else why
    return PictureExplanation(
        logits=logits, probabilities=logits.softmax(0), attention=evidence, evidence=evidence, why=why, why_not=why_not,
        common=common, two_sided=two_sided, class_names=names or [f"class {c}" for c in range(len(why))],
        picture=Image.new("RGB", size, (200, 30, 30)), negative=negative,
    )  # fmt: skip


@pytest.fixture
def result():
    """Two classes at 1 x 2 places: 3 for and 1 against the first, 0.5 for the second."""
    return a_result([[[3.0, 0.0]], [[0.0, 0.5]]], [[[0.0, 1.0]], [[0.0, 0.0]]], [[[-0.25, 0.0]], [[0.25, 0.0]]])


def layers(text):
    """Pixels (h, w, 4) of the maps in a text."""
    uris = re.findall(r'class="layer" src="data:image/png;base64,([^"]+)"', text)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(uri)))) for uri in uris]


def numbers(text):
    return re.findall(r'<span class="term"><b>(.*?)</b> <span>(.*?)</span>', text)


def test_a_class_has_the_terms_of_its_logit_red_for_it_and_blue_against_it(result):
    text = view.class_view(result, 0)
    assert numbers(text) == [
        (" 3.0", "for"), ("\u2212 1.0", "against"), ("\u2212 0.2", "shared by the classes"), ("= 1.8", "logit")
    ]  # fmt: skip
    (pixels,) = layers(text)
    assert pixels[0].tolist() == [[214, 26, 0, 255], [0, 51, 217, 85]]  # 1 of 3 is a third of 255
    assert "20 x 10 pixels" in text and "at 2 x 1 places" in text


def test_the_maps_of_all_classes_share_one_scale(result):
    for text in (view.class_view(result, 1), view.class_buttons(result, 1)):
        pixels = layers(text)[-1]
        assert pixels[0].tolist() == [[214, 26, 0, 0], [214, 26, 0, 42]]  # a half of 3


def test_a_model_of_one_side_has_one_colour():
    positive = a_result([[[2.0, 1.0]]], [[[0.0, 0.0]]], [[[0.0, 0.0]]], two_sided=False)
    negative = a_result([[[0.0, 0.0]]], [[[2.0, 1.0]]], [[[0.0, 0.0]]], two_sided=False, negative=True)
    texts = view.class_view(positive, 0), view.class_view(negative, 0)
    assert [numbers(text) for text in texts] == [
        [(" 3.0", "for"), ("= 3.0", "logit")], [("\u2212 3.0", "against"), ("= \u22123.0", "logit")]
    ]  # fmt: skip
    assert layers(texts[0])[0][0].tolist() == [[214, 26, 0, 255], [214, 26, 0, 128]]
    assert layers(texts[1])[0][0].tolist() == [[0, 51, 217, 255], [0, 51, 217, 128]]
    assert "red: evidence for" in texts[0] and "blue" not in texts[0]
    assert "blue: evidence against" in texts[1] and "red" not in texts[1]


def test_a_contrast_is_red_for_the_first_class_and_blue_for_the_second(result):
    text = view.contrast_view(result, 0, 1)  # 3 - 0.25 - 0.25 = 2.5 and -1 - 0.5 = -1.5
    assert numbers(text) == [(" 2.5", "red"), ("\u2212 1.5", "blue"), ("= 1.0", "nats")]
    assert layers(text)[0][0].tolist() == [[214, 26, 0, 255], [0, 51, 217, 153]]
    assert "red: for <bdi>class 0</bdi>" in text and "blue: for <bdi>class 1</bdi>" in text
    assert "class 0 is 2.72 times as likely as class 1" in text
    assert "two different classes" in view.contrast_view(result, 1, 1)


def test_the_most_likely_classes_have_a_button_and_so_has_the_chosen_one():
    values = np.arange(20.0)[:, None, None]
    many = a_result(values, 0 * values, 0 * values)
    pressed = re.findall(r'data-number="(\d+)" aria-pressed="(\w+)"', view.class_buttons(many, 18))
    assert pressed == [(str(c), str(c == 18).lower()) for c in range(19, 7, -1)]
    pressed = re.findall(r'data-number="(\d+)" aria-pressed="(\w+)"', view.class_buttons(many, 2))
    assert pressed[12:] == [("2", "true")] and len(pressed) == 13


def test_the_answer_says_whether_an_example_is_right(result):
    assert "probability 73.1&nbsp;%" in view.answer(result, label=None)  # 1.75 - 0.75 = 1 nat
    assert "verdict" not in view.answer(result, label=None)
    assert 'class="verdict right">right: the label is <bdi>class 0' in view.answer(result, label=0)
    assert 'class="verdict wrong">wrong: the label is <bdi>class 1' in view.answer(result, label=1)


def test_names_are_text_and_never_markup():
    one = [[[1.0]], [[0.0]]]
    result = a_result(one, np.zeros_like(one), np.zeros_like(one), names=[NASTY, "b"])
    texts = [view.answer(result, label=0), view.class_view(result, 0), view.class_buttons(result, 0),
             view.contrast_view(result, 0, 1), view.message(NASTY)]  # fmt: skip
    for text in texts:
        assert "<script" not in text and "alert(&quot;" in text.replace("<wbr>", "")
