import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tools import ToolError
from tools.figures.report.page import Report, ReportCard, ReportMap, save_report
from tools.figures.report.pictures import picture_uri

NASTY = """<script>alert("x")</script>'"&${title}"""
VOID = {"meta", "link", "img", "input", "br", "wbr", "hr"}


class Page(HTMLParser):
    """Parser of a page into a list of elements: tag, attributes and the text inside."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag}: {names}"
        element = {"tag": tag, **dict(attrs), "text": ""}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def find(self, tag, class_=None, **wanted):
        return [
            e for e in self.elements
            if e["tag"] == tag and (class_ is None or class_ in (e.get("class") or "").split())
            and all(e.get(key) == value for key, value in wanted.items())
        ]  # fmt: skip

    def sections(self):
        return [e["id"] for e in self.find("section")]


def a_map(name="cat", kind="positive", top=1.0, **changes):
    values = np.linspace(0.0, top, 9, dtype=np.float32).reshape(3, 3)
    return ReportMap(**({"name": name, "probability": 0.7, "logit": 2.5, "values": values, "kind": kind} | changes))


def a_card(title="1", label="cat", prediction="cat", probability=0.7, maps=None, size=(20, 10)):
    picture = Image.new("RGB", size, (30, 120, 200))
    return ReportCard(title, picture_uri(picture), label, prediction, probability, [a_map()] if maps is None else maps)


def a_report(**changes):
    log = [
        {"run": "a", "epoch": e, "loss": 2.0 - e, "val_loss": 2.5 - e, "top1": 0.5, "val_top1": 0.4, "val_area": 0.1}
        for e in range(2)
    ]
    fields = {
        "title": "Cats and dogs",
        "configuration": {"model": "resnet18", "lr": 0.001, "resume": None},
        "accuracy": {"top-1": 0.98204, "top-5": 1.0},
        "metric_rows": [{"method": "SCOUTER", "area": 0.123456, "pictures": 10}, {"method": "IBA", "deletion": 0.5}],
        "curves": log,
        "cards": [a_card()],
    }
    return Report(**(fields | changes))


def written(tmp_path, **changes):
    path = tmp_path / "report.html"
    save_report(path, a_report(**changes))
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    text = path.read_text(encoding="utf-8")
    return Page(text), text


def pixels(uri):
    head, data = uri.split(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def cells(page):
    return [e["text"] for e in page.find("td") + page.find("th")]


def test_the_page_has_its_sections_and_landmarks(tmp_path):
    page, text = written(tmp_path)
    assert text.startswith("<!DOCTYPE html>") and page.find("html", lang="en")
    assert page.sections() == ["configuration", "accuracy", "curves", "scores", "pictures"]
    assert [len(page.find(tag)) for tag in ("header", "main", "footer", "nav", "h1")] == [1] * 5
    assert page.find("h1")[0]["text"] == page.find("title")[0]["text"] == "Cats and dogs"
    assert [dd["text"] for dd in page.find("dd")][:2] == ["98.20\xa0%", "100.00\xa0%"]
    assert page.find("details") and {"resnet18", "0.001", "-"} <= set(cells(page))
    ids = [e["id"] for e in page.elements if e.get("id")]
    assert len(ids) == len(set(ids))
    for e in page.elements:  # references have a target
        for reference in (e.get("for"), e.get("aria-labelledby"), e.get("aria-describedby")):
            assert reference is None or reference in ids, e
        assert not (e.get("href") or "").startswith("#") or e["href"][1:] in ids
    assert [e["href"] for e in page.find("a", "skip")] == ["#main", "#pictures"]


@pytest.mark.parametrize(
    ("empty", "section"),
    [("configuration", "configuration"), ("accuracy", "accuracy"), ("curves", "curves"), ("metric_rows", "scores"),
     ("cards", "pictures")],
)  # fmt: skip
def test_an_empty_field_has_no_section(tmp_path, empty, section):
    page, _ = written(tmp_path, **{empty: {} if empty in ("configuration", "accuracy") else []})
    assert len(page.sections()) == 4 and section not in page.sections()
    assert f"#{section}" not in [a["href"] for a in page.find("a")]


def test_nothing_comes_from_outside_and_only_the_pages_own_script_may_run(tmp_path):
    page, text = written(tmp_path, title="http://example.org", configuration={"url": "https://example.org"})
    for e in page.elements:
        for key in ("src", "href", "srcset", "action", "poster", "data"):
            assert e.get(key) is None or re.match(r"#|data:image/(png|jpeg);base64,|data:,$", e[key]), e
        assert not any(key.startswith("on") for key in e) and "style" not in e
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp|import\(", text)
    policy = page.find("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    for tag in ("style", "script"):
        (element,) = page.find(tag)
        digest = base64.b64encode(hashlib.sha256(element["text"].encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"


def test_names_are_text_and_never_markup(tmp_path):
    nasty = a_card(NASTY, NASTY, "dog", maps=[a_map(NASTY), a_map("dog", "negative")])
    log = [{"run": NASTY, "epoch": 0, "loss": 1.0}, {"run": "other", "epoch": 0, "loss": 1.0}]
    page, text = written(
        tmp_path, title=NASTY, configuration={NASTY: NASTY}, accuracy={NASTY: 0.5}, curves=log,
        metric_rows=[{NASTY: NASTY}], cards=[nasty, a_card()],
    )  # fmt: skip
    assert len(page.find("script")) == 1 and "<script>alert" not in text
    assert page.find("h1")[0]["text"] == page.find("title")[0]["text"] == page.find("h3")[0]["text"] == NASTY
    assert cells(page).count(NASTY) == 4 and [e["text"] for e in page.find("option")][1:] == [f"{NASTY} (1)", "cat (1)"]
    assert page.find("dt")[0]["text"] == NASTY and page.find("dd")[1]["text"] == NASTY
    assert f"Map of evidence for class {NASTY} on picture {NASTY}" in [e.get("alt") for e in page.find("img")]
    assert any(NASTY in e["text"] for e in page.find("li"))


def test_names_that_are_not_valid_text_do_not_break_the_page(tmp_path):
    page, _ = written(tmp_path, cards=[a_card(label="caf\udce9")])
    assert page.find("option")[1]["text"] == r"caf\udce9 (1)"


def test_every_picture_has_a_description_and_loads_lazily(tmp_path):
    maps = [a_map("cat"), a_map("dog", "negative")]
    page, _ = written(tmp_path, cards=[a_card("7", maps=maps), a_card("picture 8")])
    assert [e["alt"] for e in page.find("img")] == [
        "Picture 7", "Map of evidence for class cat on picture 7", "Map of evidence against class dog on picture 7",
        "Picture 8", "Map of evidence for class cat on picture 8",
    ]  # fmt: skip
    assert {(e["loading"], e["decoding"], e["width"], e["height"]) for e in page.find("img")} == {
        ("lazy", "async", "20", "10")
    }
    assert len(page.find("svg", role="img")) == 3 and all(e["aria-label"] for e in page.find("svg", role="img"))


def test_mistakes_come_first_by_confidence_then_right_ones_by_doubt(tmp_path):
    cards = [
        a_card("sure", probability=0.99), a_card("doubt", probability=0.4), a_card("nan", probability=float("nan")),
        a_card("slip", "dog", "cat", 0.5), a_card("blunder", "dog", "cat", 0.9), a_card("own", None, "cat", 0.1),
    ]  # fmt: skip
    page, _ = written(tmp_path, cards=cards)
    assert [e["text"] for e in page.find("h3")] == ["blunder", "slip", "nan", "doubt", "sure", "own"]
    outcomes = ["wrong", "wrong", "right", "right", "right", "unknown"]
    assert [e["data-outcome"] for e in page.find("article")] == outcomes
    assert [e["text"] for e in page.find("span", "mark")] == outcomes[:5]
    assert [e["value"] for e in page.find("input", name="outcome")] == ["", "wrong", "right"]
    assert [e["text"] for e in page.find("option")] == ["All classes", "cat (3)", "dog (2)"]
    assert "Showing 6 of 6 pictures" in page.find("p", id="count")[0]["text"]
    assert page.find("p", id="count")[0]["aria-live"] == "polite"


def test_pictures_without_labels_are_neither_right_nor_wrong(tmp_path):
    page, text = written(tmp_path, cards=[a_card(str(i), None, f"class {n}") for i, n in enumerate((10, 9, 10))])
    assert not page.find("input", name="outcome") and not page.find("span", "mark") and "Mistakes" not in text
    assert [e["text"] for e in page.find("option")] == ["All classes", "class 9 (1)", "class 10 (2)"]
    assert [e["data-class"] for e in page.find("article")] == ["1", "0", "1"]
    assert [e["text"] for e in page.find("h3")] == ["0", "1", "2"]


def test_evidence_for_and_against_shares_the_scale_of_its_picture(tmp_path):
    maps = [
        a_map("a", top=4.0), a_map("b", top=2.0), a_map("c", "negative", top=0.5), a_map("d", "negative", top=0.0),
        a_map("e", values=np.array([[np.nan, -1.0], [np.inf, 1.0]])),
    ]  # fmt: skip
    page, _ = written(tmp_path, cards=[a_card(maps=maps), a_card(maps=[a_map("f", top=0.01)])])
    layers = [pixels(e["src"]) for e in page.find("img", "layer")]
    assert layers[0].shape == (3, 3, 4) and layers[0][0, 0, 3] == 0
    assert [layer[..., 3].max() for layer in layers] == [255, 128, 32, 0, 64, 255]
    assert layers[4][..., 3].tolist() == [[0, 0], [0, 64]]
    assert all(
        (layer[..., 0] > 200).all() and (layer[..., 2] == 0).all() for layer in (layers[0], layers[1], layers[5])
    )
    assert (layers[2][..., 2] > 200).all() and (layers[2][..., 0] == 0).all()
    legend = [e["text"] for e in page.find("li")]
    assert "red: evidence for the class" in legend and "blue: evidence against the class" in legend


@pytest.mark.parametrize("changes", [{"kind": "attention"}, {"values": np.ones(4)}])
def test_a_map_of_unknown_kind_or_shape_is_named_and_nothing_is_written(tmp_path, changes):
    with pytest.raises(ToolError, match=r"map of cat on picture 1.*positive or negative or contrast, \(h, w\)"):
        save_report(tmp_path / "report.html", a_report(cards=[a_card(maps=[a_map(**changes)])]))
    assert not list(tmp_path.iterdir())


def test_pictures_of_every_mode_are_small_and_keep_their_shape(tmp_path):
    modes = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")
    cards = [
        ReportCard(m, picture_uri(Image.new(m, (600, 300))), "cat", "cat", i / 10, []) for i, m in enumerate(modes)
    ]
    page, _ = written(tmp_path, cards=cards)
    pictures = [pixels(e["src"]) for e in page.find("img", "picture")]
    assert {p.shape[:2] for p in pictures} == {(144, 288)}
    # transparent parts are white, as is CMYK without ink
    assert [int(p.min()) for p in pictures] == [0, 0, 255, 0, 0, 255, 255]


def drawing(side):
    """A picture of few colours, as of a chart: rings."""
    rows, columns = np.indices((side, side)) - side / 2
    return (np.hypot(rows, columns) % 24 < 4) * np.uint8(255)


@pytest.mark.parametrize(
    ("picture", "form"),
    [(np.zeros((200, 200), np.uint8), "png"), (np.arange(200, dtype=np.uint8)[None].repeat(200, 0), "png"),
     (drawing(200), "png"), (np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8), "jpeg"),
     (np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8), "jpeg")],
    ids=["flat", "gradient", "drawing", "small noise", "noise"],
)  # fmt: skip
def test_the_smaller_file_of_a_picture_is_embedded(picture, form):
    def size(form, **options):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, form, optimize=True, **options)
        return len(file.getvalue())

    sizes = {"png": size("png"), "jpeg": size("jpeg", quality=80)}
    assert min(sizes, key=sizes.get) == form
    head, data = picture_uri(Image.fromarray(picture)).uri.split(",")
    assert head == f"data:image/{form};base64" and len(base64.b64decode(data)) == sizes[form]


def test_numbers_have_four_decimals_and_missing_ones_are_a_dash(tmp_path):
    rows = [
        {"method": "a", "x": 0.123456, "n": 3, "ok": True}, {"method": "b", "x": np.float32(2), "n": np.int64(4)},
        {"method": "c", "x": float("nan"), "y": float("inf"), "n": None}, {"method": "d", "x": 0.00001234},
    ]  # fmt: skip
    page, text = written(tmp_path, metric_rows=rows, configuration={}, accuracy={"top-1": float("nan")})
    table = [e["text"] for e in page.find("table", "metrics")]
    assert table == ["methodxnoky" + "a0.12353True-" + "b2.00004--" + "c----" + "d1.2e-05---"]
    assert len(page.find("th", scope="row")) == 4 and len(page.find("td", "number")) == 4 * 3
    assert page.find("dl", "tiles")[0]["text"] == "top-1-"
    assert not re.search(
        r"\b(nan|inf|None)\b", re.sub(r'"data:[^"]*"|<script>.*?</script>|<style>.*?</style>', "", text, flags=re.S)
    )


def test_more_tables_follow_under_their_titles(tmp_path):
    more = {"on <the> class (better: grid large)": [{"method": "a", "grid": "0.9"}], "none": []}
    page, _ = written(tmp_path, more_metrics=more, faults=["mixed rows"])
    assert page.find("h3")[0]["text"] == "On <the> class (better: grid large)"
    assert [e["text"] for e in page.find("table", "metrics")][1:] == ["methodgrida0.9"]
    labels = [e["aria-label"] for e in page.find("div", role="region")]
    assert labels == ["Table of scores", "Table of scores, on <the> class (better: grid large)"]
    page, _ = written(tmp_path, metric_rows=[], more_metrics=more)
    assert "scores" in page.sections() and len(page.find("table", "metrics")) == 1


def test_curves_have_gaps_instead_of_missing_numbers(tmp_path):
    log = [{"run": "a", "epoch": e, "loss": v} for e, v in enumerate((1.0, float("nan"), 3.0, 4.0))]
    page, _ = written(tmp_path, curves=[*log, {"note": "no epoch"}])
    (figure,) = [e for e in page.find("svg") if e.get("role") == "img"]
    assert figure["aria-label"] == "Loss by epoch; last: training 4"
    (line,) = [e for e in page.find("path", "line") if e["d"].count("M") + e["d"].count("L") == 3]
    assert re.sub(r"[\d. ]", "", line["d"].replace("h0", "h")) == "MhMhL"  # a point alone, a gap, two joined
    assert [e["text"] for e in page.find("circle")] == [
        f"a, training, epoch {e}: {v}" for e, v in ((1, 1), (3, 3), (4, 4))
    ]
    heights = [float(e["cy"]) for e in page.find("circle")]
    assert heights[0] - heights[1] == pytest.approx(2 * (heights[1] - heights[2]), abs=0.2)


def test_curves_without_any_number_have_no_section(tmp_path):
    page, _ = written(tmp_path, curves=[{"run": "a", "epoch": 0, "loss": float("nan")}])
    assert "curves" not in page.sections()


def test_several_runs_have_a_colour_each_and_their_names(tmp_path):
    log = [{"run": run, "epoch": 0, "val_loss": 1.0} for run in ("first", "second")]
    page, _ = written(tmp_path, curves=log)
    assert [e["text"] for e in page.find("ul", "runs")] == ["trainingvalidationfirstsecond"]
    assert len(page.find("circle", "series-0")) == len(page.find("circle", "series-1")) == 1


def test_a_hundred_pictures_with_four_maps_each_stay_below_eight_megabytes(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (260, 260, 3), np.uint8)  # nothing is harder to compress
    values = np.random.default_rng(1).random((9, 9))
    maps = [a_map(str(i), values=values) for i in range(4)]
    cards = [ReportCard(str(i), picture_uri(Image.fromarray(noise)), "a", "a", 0.5, maps) for i in range(100)]
    save_report(tmp_path / "report.html", a_report(cards=cards))
    assert (tmp_path / "report.html").stat().st_size < 8e6


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return np.dot(
        [0.2126, 0.7152, 0.0722], [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    )


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_texts_and_lines_have_enough_contrast_in_both_modes(tmp_path, mode):
    _, text = written(tmp_path)
    blocks = re.findall(r":root \{(.*?)\}", text, flags=re.S)[:2]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", blocks[0]))
    if mode == "dark":
        colours |= dict(re.findall(r"--([\w-]+): (#\w{6});", blocks[1]))
    texts = [(name, back) for name in ("text", "soft", "accent") for back in ("page", "card", "tag-back")]
    texts += [("right", "right-back"), ("wrong", "wrong-back")]
    graphics = [(f"series-{i}", "card") for i in range(6)] + [("edge", "card"), ("edge", "page")]
    for pairs, least in ((texts, 4.5), (graphics, 3.0)):
        for name, back in pairs:
            low, high = sorted(luminance(colours[one]) for one in (name, back))
            assert (high + 0.05) / (low + 0.05) >= least, (mode, name, back)


@pytest.fixture
def opened(tab, tmp_path):
    """Function that opens a report; after the test the browser must have asked for nothing but the page."""

    def at(width, *, mode="light", motion="no-preference", **changes):
        save_report(tmp_path / "report.html", a_report(**changes))
        return tab((tmp_path / "report.html").as_uri(), width=width, height=800, mode=mode, motion=motion)

    yield at
    assert {url for url in tab.urls if not url.startswith("data:")} == {(tmp_path / "report.html").as_uri()}


def gallery():
    long = "a_class_name_that_is_much_longer_than_any_phone_is_wide_and_has_no_space"
    maps = [a_map("cat"), a_map("dog", top=0.5), a_map(long, "negative"), a_map("bird", "negative")]
    return [
        a_card("1", "cat", "cat", 0.9, maps), a_card("2", "cat", "dog", 0.8, maps),
        a_card("3", "dog", "dog", 0.7, maps), a_card("4", "dog", "cat", 0.6, maps),
        a_card("5", long, "cat", 0.5, maps), a_card("6", "cat", "cat", 0.4, maps),
    ]  # fmt: skip


def shown(page):
    return [card.locator("h3").text_content() for card in page.locator("article").all() if card.is_visible()]


def style_of(page, selector, name):
    return page.locator(selector).first.evaluate("(element, name) => getComputedStyle(element)[name]", name)


def text_of(page, selector):
    return page.locator(selector).inner_text()


@pytest.mark.parametrize("width", [1200, 360])
def test_the_filters_of_the_page_choose_pictures(opened, width):
    page = opened(width, cards=gallery())
    assert shown(page) == ["2", "4", "5", "6", "3", "1"] and text_of(page, "#count") == "Showing 6 of 6 pictures"
    page.select_option("#class", label="cat (3)")
    assert shown(page) == ["2", "6", "1"] and text_of(page, "#count") == "Showing 3 of 6 pictures"
    page.check("input[value=wrong]")
    assert shown(page) == ["2"] and text_of(page, "#count") == "Showing 1 of 6 pictures"
    page.select_option("#class", label="All classes")
    assert shown(page) == ["2", "4", "5"] and text_of(page, "#count") == "Showing 3 of 6 pictures"
    page.press("input[value=wrong]", "ArrowDown")  # the keyboard works, too
    assert page.is_checked("input[value=right]") and shown(page) == ["6", "3", "1"]


def test_one_slider_sets_the_opacity_of_all_maps(opened):
    page = opened(1200, cards=gallery(), motion="reduce")
    assert style_of(page, ".layer", "opacity") == "0.8" and style_of(page, ".layer", "transitionDuration") == "0s"
    page.press("#strength", "End")
    assert style_of(page, ".layer", "opacity") == "1"
    page.press("#strength", "Home")
    opacities = page.locator(".layer").evaluate_all("layers => layers.map(e => getComputedStyle(e).opacity)")
    assert opacities == ["0"] * 24 and text_of(page, "#strength-text") == "0 %"
    page.press("#strength", "ArrowRight")
    assert style_of(page, ".layer", "opacity") == "0.01"


def test_maps_lie_exactly_over_their_picture_smooth_or_in_squares(opened):
    page = opened(1200, cards=gallery())
    boxes = page.locator(".frame").evaluate_all(
        "frames => frames.map(f => [...f.querySelectorAll('img')].map(i => "
        "{const r = i.getBoundingClientRect(); return [i.src.length > 40, r.x, r.y, r.width, r.height]}))"
    )
    assert len(boxes) == 24
    for base, layer in boxes:
        assert base == pytest.approx(layer, abs=0.5) and base[3] == pytest.approx(2 * base[4], abs=1) and base[3] > 60
    assert style_of(page, ".layer", "imageRendering") == "auto" and "grayscale" in style_of(page, ".base", "filter")
    page.uncheck("#smooth")
    page.uncheck("#grey")
    assert style_of(page, ".layer", "imageRendering") == "pixelated" and style_of(page, ".base", "filter") == "none"


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_a_phone_scrolls_only_vertically(opened, mode):
    rows = [{f"column {i}": i / 7 for i in range(12)}]
    page = opened(360, mode=mode, cards=gallery(), metric_rows=rows, title="w" * 80, configuration={"k" * 60: "v" * 90})
    page.click("summary")
    assert page.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [360, 360]
    assert page.locator(".panel.scroll").evaluate("table => table.scrollWidth > table.clientWidth")
    back = [int(part) for part in re.findall(r"\d+", style_of(page, "body", "backgroundColor"))[:3]]
    assert min(back) > 200 if mode == "light" else max(back) < 60


def test_the_keyboard_reaches_the_skip_link_first_and_its_focus_is_visible(opened):
    page = opened(1200, cards=gallery())
    page.keyboard.press("Tab")
    link = page.locator(":focus")
    assert link.inner_text() == "Skip to the content" and link.bounding_box()["y"] >= 0
    assert style_of(page, ":focus", "outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.tagName") == "MAIN"


def test_names_with_markup_run_no_script(opened):
    page = opened(1200, title=NASTY, cards=[a_card(NASTY, NASTY, NASTY, maps=[a_map(NASTY)])])
    assert text_of(page, "h1") == NASTY and page.title() == NASTY
    assert page.locator("script").count() == 1


def test_a_page_without_pictures_or_labels_works_too(opened):
    page = opened(1200, cards=[])
    assert page.locator("article").count() == 0
    page = opened(1200, cards=[a_card("1", None, "cat"), a_card("2", None, "dog")])
    page.select_option("#class", index=2)
    assert shown(page) == ["2"] and text_of(page, "#count") == "Showing 1 of 2 pictures"


def test_in_print_the_settings_are_open_and_the_controls_hidden(opened):
    page = opened(1200, cards=gallery())
    page.evaluate("addEventListener('beforeprint', () => { window.seen = document.querySelector('details').open; })")
    assert page.pdf()[:4] == b"%PDF"
    assert page.evaluate("[window.seen, document.querySelector('details').open]") == [True, False]
    page.emulate_media(media="print")
    assert style_of(page, ".controls", "display") == style_of(page, "nav", "display") == "none"


def test_five_hundred_pictures_open_in_three_seconds(tab, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (500, 60, 80, 3), np.uint8)
    maps = [a_map(name, values=np.random.default_rng(1).random((9, 9))) for name in ("cat", "dog")]
    maps += [a_map(name, "negative") for name in ("cat", "dog")]
    cards = [
        ReportCard(str(i), picture_uri(Image.fromarray(pixels)), "cat", "cat", 0.5, maps)
        for i, pixels in enumerate(noise)
    ]
    save_report(tmp_path / "report.html", a_report(cards=cards))
    page = tab("about:blank", width=1200)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})  # seconds of the processor
    page.goto((tmp_path / "report.html").as_uri())
    assert text_of(page, "#count") == "Showing 500 of 500 pictures"
    assert page.locator("article .base").first.evaluate("picture => picture.complete && picture.naturalWidth") == 80
    busy = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}["TaskDuration"]
    assert 0 < busy < 3


def test_names_from_right_to_left_do_not_move_the_text_around_them(tmp_path):
    name = "קמץ\u202e"
    card = a_card(title=name, label=name, prediction=name, maps=[a_map(name=name)])
    page, text = written(tmp_path, cards=[card], title=name, configuration={"dataset_dir": name})
    shown = r"קמץ\u202e"
    assert "\u202e" not in text and page.find("h1")[0]["text"] == shown
    assert [e["text"] for e in page.find("bdi")] == [shown] * 5  # settings, title, label, prediction, map
    assert f"\u2068{shown}\u2069 (1)" in [e["text"] for e in page.find("option")]
    alts = [e["alt"] for e in page.find("img")]
    assert alts == [f"Picture \u2068{shown}\u2069",
                    f"Map of evidence for class \u2068{shown}\u2069 on picture \u2068{shown}\u2069"]  # fmt: skip


def test_maps_of_two_models_are_named_and_have_a_scale_and_a_prediction_each(tmp_path):
    maps = [
        a_map("cat", top=4.0, model="positive model", prediction="cat"),
        a_map("dog", top=1.0, model="positive model", prediction="cat"),
        a_map("cat", "negative", top=0.01, model="negative model", prediction="dog"),
        a_map("dog", "negative", top=0.0, model="negative model", prediction="dog"),
    ]
    page, _ = written(tmp_path, cards=[a_card(maps=maps)])
    assert [pixels(e["src"])[..., 3].max() for e in page.find("img", "layer")] == [255, 64, 255, 0]
    tags = [e["text"] for e in page.find("span", "tag")]
    assert tags[:4] == ["positive model", "true", "predicted", "positive model"]
    assert tags[4:] == ["negative model", "true", "negative model", "predicted"]


def test_a_contrast_is_red_above_zero_and_blue_below(tmp_path):
    maps = [a_map("cat rather than dog", "contrast", values=np.array([[4.0, -2.0], [0.0, 0.0]]), logit=2.0)]
    page, text = written(tmp_path, cards=[a_card(maps=maps)])
    (layer,) = [pixels(e["src"]) for e in page.find("img", "layer")]
    assert layer[0, 0].tolist() == [214, 26, 0, 255] and layer[0, 1].tolist() == [0, 51, 217, 128]
    assert (layer[1, :, 3] == 0).all() and "2&nbsp;nats" in text


def test_a_side_of_the_evidence_is_named_with_its_sum(tmp_path):
    sides = [a_map("cat", kind, values=np.full((2, 2), value), logit=5.0, is_part=True)
             for kind, value in (("positive", 2.0), ("negative", 0.5))]  # fmt: skip
    _, text = written(tmp_path, cards=[a_card(maps=sides)])
    assert "for&nbsp;8, logit&nbsp;5" in text and "against&nbsp;2, logit&nbsp;5" in text
