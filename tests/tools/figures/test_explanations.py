import matplotlib
import numpy as np
import pytest
from PIL import Image

from tools.figures.canvas import OnePassCanvas
from tools.figures.explanations import (
    ClassMap,
    OverviewRow,
    draw_explanation,
    draw_overview,
    jet_overlay,
    save_explanation_figure,
    save_map_files,
)
from tools.figures.saving import save_figure
from tools.figures.sheet import Panel
from tools.figures.texts import prepare_texts


def test_map_files_are_scaled_over_all_classes_together(tmp_path):
    maps = np.array([[[0.0, 1.0], [2.0, 4.0]], [[0.0, 0.0], [0.0, 2.0]]], np.float32)  # (c, h, w)
    save_map_files(tmp_path, Image.new("L", (8, 8), 100), maps, [0, 1])
    assert np.asarray(Image.open(tmp_path / "slot_0.png")).tolist() == [[0, 64], [128, 255]]
    assert np.asarray(Image.open(tmp_path / "slot_1.png")).tolist() == [[0, 0], [0, 128]]
    picture, overlay = (Image.open(tmp_path / name) for name in ("image.png", "slot_mask_0.png"))
    assert picture.size == overlay.size == (8, 8) and overlay.mode == "RGB"
    # jet is dark blue at 0 and dark red at 1, laid over the grey picture at 0.4
    top, bottom = np.asarray(overlay)[0, 0], np.asarray(overlay)[7, 7]
    assert top[2] == pytest.approx(0.6 * 100 + 0.4 * 127, abs=2) and top[0] == pytest.approx(60, abs=2)
    assert bottom[0] == pytest.approx(0.6 * 100 + 0.4 * 127, abs=2) and bottom[2] == pytest.approx(60, abs=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "image.png", "slot_0.png", "slot_1.png", "slot_mask_0.png", "slot_mask_1.png",
    ]  # fmt: skip


def test_every_level_of_grey_has_its_colour_of_jet():
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    picture = Image.fromarray(np.full((16, 16, 3), 90, np.uint8))
    colours = matplotlib.colormaps["jet"](np.arange(256, dtype=np.float32).reshape(16, 16) / 255)[..., :3]
    jet = Image.fromarray((colours * 255).round().astype(np.uint8))
    np.testing.assert_array_equal(jet_overlay(picture, grey), Image.blend(picture, jet, 0.4))


def test_constant_maps_do_not_divide_by_zero(tmp_path):
    save_map_files(tmp_path, Image.new("RGB", (4, 4)), np.full((1, 2, 2), 0.3, np.float32), [0])
    assert np.asarray(Image.open(tmp_path / "slot_0.png")).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("negative", [False, True])
def test_evidence_for_a_class_is_red_and_against_it_blue(tmp_path, negative):
    strong, weak = np.ones((3, 3), np.float32), np.zeros((3, 3), np.float32)
    columns = [ClassMap("cat", 1.0, 0.9, strong, strong, True), ClassMap("dog", 0.1, 0.1, weak, weak, False)]
    path = tmp_path / "figure.png"
    save_explanation_figure(path, Image.new("RGB", (30, 30), "white"), columns, title="t", negative=negative)
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    red = ((pixels[..., 0] - pixels[..., 2]) > 80).sum()
    blue = ((pixels[..., 2] - pixels[..., 0]) > 80).sum()
    assert (blue > 5000 and red == 0) if negative else (red > 5000 and blue == 0)


def test_an_overview_shows_rows_of_different_length(tmp_path):
    values = np.ones((2, 2), np.float32)
    column = ClassMap("a name that is much too long for it", 1.0, 0.9, values, values, True)
    rows = [OverviewRow(Image.new("L", (9, 9)), ("a", "predicted b"), [column] * count) for count in (2, 3)]
    save_figure(tmp_path / "overview.png", draw_overview(rows, negative=False))
    assert Image.open(tmp_path / "overview.png").size == (round(1.1 * 4 * 120), round((1.45 * 2 + 0.3) * 120))


def test_two_sides_have_their_colours_on_one_scale_and_the_sum_below(tmp_path):
    strong, weak = np.full((3, 3), 1.0, np.float32), np.full((3, 3), 0.5, np.float32)
    column = ClassMap("cat", 3.5, 0.9, strong, strong, True, against=weak)  # 9 - 4.5 leaves -1
    with pytest.MonkeyPatch.context() as patch:
        figures = []
        patch.setattr("tools.figures.explanations.save_figure", lambda path, figure, note: figures.append(figure))
        save_explanation_figure(tmp_path / "a.png", Image.new("RGB", (30, 30)), [column], title="t", negative=False)
    (figure,) = figures
    _, above, below = (artist for artist in figure.artists if type(artist) is Panel)
    assert above.title.get_text() == "cat (true)\np = 0.900\nfor 9.0" and below.title.get_text() == "against 4.5"
    assert "9.0 \u2212 4.5 \u2212 1.0\n= logit 3.5" in [text.get_text() for text in figure.texts]
    assert above.scale.vmax == below.scale.vmax == 1.0
    assert above.colours(1.0)[0] > 0.8 > 0.1 > above.colours(1.0)[2] and below.colours(1.0)[2] > 0.8


LONG = "Black-throated Blue Warbler of the far north, a female in winter"
NAMES = [["cat"], [LONG, LONG[::-1]], ["猫" * 20, "x" * 60, " "], [f"class {i}" for i in range(10)]]


@pytest.mark.parametrize("size", [(28, 28), (260, 260), (400, 90), (90, 400)])
@pytest.mark.parametrize("names", NAMES, ids=len)
@pytest.mark.parametrize(("sided", "amount"), [(1, 1e-6), (1, 0.0), (2, 1.0), (2, 123456.0)])
def test_no_text_of_a_figure_is_cut_or_lies_over_a_panel_or_its_neighbour(names, size, sided, amount):
    values = np.arange(9, dtype=np.float32).reshape(3, 3) * amount
    against = values if sided == 2 else None
    columns = [ClassMap(name, -1.5, 0.5, values, values, i == 0, against) for i, name in enumerate(names)]
    figure = draw_explanation(Image.new("RGB", size), columns, title="picture 1: label a", negative=False)
    prepare_texts(figure)
    canvas = OnePassCanvas(figure)
    canvas.draw()
    texts = [text.get_window_extent() for text in figure.texts if text.get_text().strip()]
    boxes = [artist.get_window_extent() for artist in figure.artists if isinstance(artist, Panel)]
    width, height = canvas.get_width_height()
    for box in (*texts, *boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
    for number, box in enumerate(texts):
        assert not any(touches(box, other) for other in (*boxes, *texts[number + 1 :]))


def touches(box, other):
    return box.x0 < other.x1 and other.x0 < box.x1 and box.y0 < other.y1 and other.y0 < box.y1


def test_a_long_name_is_wrapped_and_cut_and_still_marked_as_the_true_one():
    values = np.ones((2, 2), np.float32)
    columns = [ClassMap(LONG, 1.0, 0.5, values, values, is_true) for is_true in (True, False)]
    figure = draw_explanation(Image.new("RGB", (9, 9)), columns, title="t", negative=False)
    titles = [artist.title.get_text().splitlines() for artist in figure.artists if type(artist) is Panel]
    assert titles[1] == ["Black-throated Blue", "Warbler of the… (true)", "logit 1", "p = 0.500"]
    assert titles[2][:2] == ["Black-throated Blue", "Warbler of the far…"]
