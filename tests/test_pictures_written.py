"""Maps that are lit at known places light the right pixels in every picture that is written.

The backbone's features are made from the colours of the picture, and the heads have weights set by hand: a class looks
for cells of its colour, one slot for bright ones, which count, the other for dim ones, which count next to nothing. So
the attention of a class is lit at two cells and its evidence at one, elsewhere for each class and each picture, and
how brightly is known. Cells are 16 pixels wide, so that a picture laid two pixels askew is an eighth of a cell off.
"""

import base64
import contextlib
import io
import re
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from timm.models.resnet import ResNet
from torch.nn import functional as F
from torch.utils.tensorboard import SummaryWriter

from tools.figures.sheet import Panel

NAMES = ["Auk", "Dove", "Heron", "Jay", "Kite", "Tern", "Wren"]  # folders, hence in the order of the alphabet
C, S, D = len(NAMES), 2, 16
GRID_H, GRID_W, CELL = 6, 9, 16
H, W = GRID_H * CELL, GRID_W * CELL
OF_EACH = 2  # validation pictures of a class
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
BRIGHT, STRONG, DIM = 4.0, 8.0, 0.02  # features of a cell
ATTENTION = 0.95 - 0.08 * np.arange(C)  # that a bright cell gets from its class
TO_DIM = 0.6  # of that, what a dim one gets
JET = matplotlib.colormaps["jet"]
RED, BLUE = (0.84 * 255, 0.0), (0.0, 0.85 * 255)  # red and blue of the figures' colours at full strength
OPACITY = 0.9  # of them
MODEL = (
    f"--dataset Folder --img_size {H}x{W} --num_workers 0 --device cpu --model test_resnet --pre_trained false "
    f"--slots_per_class {S} --hidden_dim {D} --iters 1 --to_k_layer 0 --attention qknorm --position none "
    "--lr 1e-30 --weight_decay 0"
)
NEAR = 0.75  # of a pixel of the picture
FRAME = 6  # pixels of a panel's edge that the frame of the true class may hide


@pytest.fixture(scope="module", autouse=True)
def _few_threads():
    """One, in place of the usual two, from the first run on: models this small are slower with more."""
    torch.set_num_threads(1)


def colour(label, kind):
    return 10 + 35 * label, *{"bright": (200, 60), "strong": (230, 120), "dim": (60, 200)}[kind]


def features_of_colours(self, images):
    """(b, 3, H, W) to (b, 96, h, w): a channel for bright and one for dim cells of each class."""
    pixels = (images * STD.view(-1, 1, 1) + MEAN.view(-1, 1, 1)) * 255
    cells = F.avg_pool2d(pixels, CELL)  # (b, 3, h, w)
    features = images.new_zeros(len(images), self.num_features, *cells.shape[2:])
    for label in range(C):
        for channel, kind, value in ((0, "bright", BRIGHT), (0, "strong", STRONG), (C, "dim", DIM)):
            target = torch.tensor(colour(label, kind)).view(-1, 1, 1)
            features[:, channel + label] += value * ((cells - target).abs().amax(1) < 2)
    return features


def draw_picture(rng, strong):
    """A picture with a bright and a dim cell of each class on a grey gradient, and where they are."""
    pixels = np.add.outer(np.linspace(60, 90, H), np.linspace(0, 60, W))[:, :, None].repeat(3, 2)
    inner = [(row, column) for row in range(1, GRID_H - 1) for column in range(1, GRID_W - 1)]
    while True:
        cells = rng.permutation(inner)[: 2 * C]
        bright, dim = cells[:C], cells[C:]
        if (np.abs(bright - dim).max(1) >= 2).all():  # their blurs do not overlap
            break
    for label in range(C):
        for kind, (row, column) in (("strong" if label == strong else "bright", bright[label]), ("dim", dim[label])):
            pixels[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = colour(label, kind)
    attention, evidence = np.zeros((2, C, GRID_H, GRID_W))
    for label in range(C):
        worth = (STRONG if label == strong else BRIGHT) / D
        attention[(label, *bright[label])] = ATTENTION[label]
        attention[(label, *dim[label])] = TO_DIM * ATTENTION[label]
        evidence[(label, *bright[label])] = ATTENTION[label] * worth
        evidence[(label, *dim[label])] = TO_DIM * ATTENTION[label] * DIM / D
    return SimpleNamespace(pixels=pixels.round().astype(np.uint8), attention=attention, evidence=evidence)


def set_by_hand(path, *, use_slot):
    """Put the weights into a checkpoint."""
    state = torch.load(path, weights_only=True)
    model = state["model"]
    if use_slot:
        model["conv1x1.weight"].zero_()[:, :, 0, 0].fill_diagonal_(1)
        model["conv1x1.bias"].zero_()
        slots = model["slot.initial_slots"].zero_().view(C, S, D)
        for label, wanted in enumerate(ATTENTION):
            for slot, value in enumerate((wanted, TO_DIM * wanted)):
                # sigmoid(40 cos - 20): nothing at right angles, the attention wanted at this angle
                cosine = (np.log(value / (1 - value)) + 20) / 40
                slots[label, slot, slot * C + label], slots[label, slot, -1] = cosine, np.sqrt(1 - cosine**2)
        model["slot.normaliser.log_scale"].fill_(np.log(40))
        model["slot.normaliser.bias"].fill_(-20)
    else:
        model["backbone.fc.weight"].zero_().fill_diagonal_(1)
        model["backbone.fc.bias"].zero_()
    torch.save(state, path)


@contextlib.contextmanager
def figures_drawn():
    """Where the panels are in every figure that is saved or sent to TensorBoard while it lasts."""
    saved, save, send = {}, Figure.savefig, SummaryWriter.add_figure

    def savefig(self, file, *args, **options):
        save(self, file, *args, **options)
        path = Path(file.name)
        saved[f"{path.parent.name}/{path.name.rsplit('.', 2)[0]}"] = panels(self)

    def add_figure(self, tag, figure, *args, **options):
        send(self, tag, figure, *args, **options)
        saved[tag] = panels(figure)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Figure, "savefig", savefig)
        monkeypatch.setattr(SummaryWriter, "add_figure", add_figure)
        yield saved


def panels(figure):
    """Rows of panels, from left to right: their title, their text, and their frame in shares of the figure.

    What stands to the left of the panels of a row, such as the name of its method, is its first panel.
    """
    size = figure.get_size_inches()
    rows = []
    shown = [artist for artist in figure.artists if type(artist) is Panel]
    for panel in sorted(shown, key=lambda panel: panel.box.middle[::-1]):
        left, top, width, height = panel.box
        box = tuple(np.divide((left, top, left + width, top + height), (*size, *size)))
        title = panel.title.get_text() if panel.title else ""
        found = SimpleNamespace(title=title, text="", box=box, middle=panel.box.middle[1], left=left)
        if rows and found.middle < rows[-1][0].middle + 0.1:
            rows[-1].append(found)
        else:
            rows.append([found])
    for row in rows:
        row.sort(key=lambda panel: panel.left)
        for text in figure.texts:
            x, y = text.get_position()
            if x < row[0].left and abs(row[0].middle + y) < 0.1:
                row.insert(0, SimpleNamespace(title="", text=text.get_text(), box=None, middle=-y, left=x))
    return rows


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, module_scripts):
    """Everything that the three scripts draw of such models, and the pictures that it is of."""
    root = tmp_path_factory.mktemp("drawn")
    rng, pictures = np.random.default_rng(3), []
    for label, name in enumerate(NAMES):
        for split, count in (("train", 1), ("val", OF_EACH)):
            (root / "data" / split / name).mkdir(parents=True)
            for number in range(count):
                picture = draw_picture(rng, (3 * len(pictures) + 1) % C)
                Image.fromarray(picture.pixels).save(root / "data" / split / name / f"{number}.png")
                if split == "val":
                    picture.label = label
                    pictures.append(picture)
    folder = root / "run"
    flags = f"{MODEL} --dataset_dir {root / 'data'} --output_dir {folder}"
    paths = {kind: folder / f"Folder_{kind}_checkpoint.pth" for kind in ("no_slot", "use_slot", "use_slot_negative")}
    with pytest.MonkeyPatch.context() as monkeypatch, figures_drawn() as figures:
        monkeypatch.setattr(ResNet, "forward_features", features_of_colours)
        for more in ("--use_slot false", "--loss_status 1", "--loss_status -1"):
            module_scripts("train", flags, "--epochs 1", more)
        for kind, path in paths.items():
            set_by_hand(path, use_slot=kind != "no_slot")
        module_scripts("train", flags, "--epochs 2 --resume auto --tensorboard true")
        sign = {}
        for kind in ("use_slot", "use_slot_negative"):
            own = f"--checkpoint {paths[kind]} --num_workers 0 --vis true --vis_id 1,5,12 --vis_dir {root / kind}"
            module_scripts("test", own, f"--report {root / kind}.html")
            sign[kind] = {name: figures[name] for name in [*(f"{i}/explanation.png" for i in (1, 5, 12))]}
            sign[kind]["overview.png"] = figures[f"{kind}/overview.png"]
        own = f"--checkpoint {paths['no_slot']} --num_workers 0 --vis_id 4 --classes 5,1,3 --vis_dir {root / 'methods'}"
        module_scripts("torchcam_vis", own, "--methods CAM,GradCAM,LayerCAM --map evidence")
    return SimpleNamespace(root=root, folder=folder, pictures=pictures, figures=figures, sign=sign)


def opened(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(float)


def bilinear(values, rows, columns):
    """A map (h, w) at places given in cells, 0.5 the middle of the first one; edges repeated."""

    def weights(places, size):
        places = np.clip(places - 0.5, 0, size - 1)
        return np.maximum(1 - np.abs(places[:, None] - np.arange(size)), 0)

    return weights(rows, values.shape[0]) @ values @ weights(columns, values.shape[1]).T


def assert_lit(pixels, box, picture, values, *, full, negative, what):
    """A panel shows a map (h, w), ``full`` of which is full colour, where it should, over the picture in pale grey.

    Args:
        pixels: (., ., 3) of the whole figure.
        box: of the panel, in shares of the figure.
        picture: (H, W, 3).
    """
    height, width = pixels.shape[:2]
    left, top, right, bottom = np.multiply(box, (width, height, width, height))
    rows, columns = (np.arange(np.ceil(a), np.floor(b)).astype(int) for a, b in ((top, bottom), (left, right)))
    part = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    red, blue = BLUE if negative else RED
    strength = (part[..., 0] - part[..., 2]) / (red - blue) / OPACITY
    y, x = (rows + 0.5 - top) / (bottom - top) * GRID_H, (columns + 0.5 - left) / (right - left) * GRID_W  # in cells
    expected = bilinear(values, y, x) / full
    for row, column in np.argwhere(values > 0.02 * values.max()):
        inside = np.ix_(np.abs(y - row - 0.5) <= 1, np.abs(x - column - 0.5) <= 1)
        for axis, places, middle in ((1, y, row), (0, x, column)):
            found, wanted = ((s[inside].sum(axis) * places[np.abs(places - middle - 0.5) <= 1]).sum() / s[inside].sum()
                             for s in (strength, expected))  # fmt: skip
            assert abs(found - wanted) * CELL < NEAR, f"{what}: the cell {row}, {column} is at {found}, not {wanted}"
        peak = strength[inside].max()
        assert peak == pytest.approx(expected[inside].max(), abs=0.05), f"{what}: the cell {row}, {column}"
    assert np.abs(strength - expected).mean() < 0.01, what
    assert np.corrcoef(strength.flat, expected.flat)[0, 1] > 0.99, what
    # What lies below has to lie there too: a map may fill its panel while the picture is askew.
    opacity = (OPACITY * strength).clip(0, 0.9)
    below = part[..., 0 if negative else 2] / (1 - opacity)  # the channel that the colour leaves dark
    seen = opacity < 0.5
    seen[:FRAME] = seen[-FRAME:] = seen[:, :FRAME] = seen[:, -FRAME:] = False
    assert_in_place(below, seen, picture, y * CELL - 0.5, x * CELL - 0.5, what=what)


def assert_in_place(below, seen, picture, y, x, *, what):
    """A pale grey picture seen at its own rows y and columns x, and not better at others beside them."""
    grey = (picture @ [0.299, 0.587, 0.114] + 120) / 375 * 255

    def distance(down, right):
        rows, columns = ((at + by).round().clip(0, s - 1).astype(int) for at, by, s in ((y, down, H), (x, right, W)))
        return np.abs(below - grey[np.ix_(rows, columns)])[seen].mean()

    moves = [(by, 0) for by in range(-3, 4)] + [(0, by) for by in range(-3, 4)]
    best = min(moves, key=lambda move: distance(*move))
    assert best == (0, 0), f"{what}: the picture below is {best} pixels off"
    assert distance(0, 0) < 6, what


KINDS = [("use_slot", False), ("use_slot_negative", True)]


@pytest.mark.parametrize("number", [1, 5, 12])
@pytest.mark.parametrize("kind", ["use_slot", "use_slot_negative"])
def test_the_published_files_are_exact(drawn, kind, number):
    picture, folder = drawn.pictures[number], drawn.root / kind / str(number)
    np.testing.assert_array_equal(opened(folder / "image.png"), picture.pixels)
    for label in range(C):
        grey = picture.attention[label] / picture.attention.max() * 255
        found = np.asarray(Image.open(folder / f"slot_{label}.png"))
        assert found.dtype == np.uint8 and found.shape == (GRID_H, GRID_W)
        assert np.abs(found - grey).max() <= 1
        assert_jet_over(opened(folder / f"slot_mask_{label}.png"), picture.pixels, grey / 255)


def assert_jet_over(found, picture, values):
    """An overlay as published: a map (h, w) from 0 to 1, bilinear at the size of the picture, in jet at 0.4."""
    large = bilinear(values, (np.arange(H) + 0.5) / CELL, (np.arange(W) + 0.5) / CELL)
    expected = 0.6 * picture + 0.4 * 255 * JET(large)[..., :3]
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 6  # one step of the grey map and of jet


@pytest.mark.parametrize("number", [1, 5, 12])
@pytest.mark.parametrize(("kind", "negative"), KINDS)
def test_explanation_png_shows_attention_above_evidence(drawn, kind, negative, number):
    picture, pixels = drawn.pictures[number], opened(drawn.root / kind / str(number) / "explanation.png")
    above, below = drawn.sign[kind][f"{number}/explanation.png"]
    logits = (-1 if negative else 1) * picture.evidence.sum((1, 2))
    order = [int(c) for c in np.argsort(-logits, kind="stable")[:4]]
    order += [picture.label] if picture.label not in order else []
    order += [c for c in [int(np.argmin(logits))] if negative and c not in order]
    labels = [NAMES.index(panel.title.split()[0]) for panel in above[1:]]
    assert labels == order and above[0].title == "picture"
    for maps, row in ((picture.attention, above), (picture.evidence, below)):
        full = maps[labels].max()
        for label, panel in zip(labels, row[1:], strict=True):
            what = f"{NAMES[label]} of {panel.title!r}"
            assert_lit(pixels, panel.box, picture.pixels, maps[label], full=full, negative=negative, what=what)
    probabilities = np.exp(logits) / np.exp(logits).sum()
    for label, first, second in zip(labels, above[1:], below[1:], strict=True):
        assert ("(true)" in first.title) == (label == picture.label)
        told = re.search(r"logit (\S+)\np = (\S+)", first.title)
        assert float(told[1]) == pytest.approx(logits[label], rel=6e-3)
        assert float(told[2]) == pytest.approx(probabilities[label], abs=6e-4)
        assert float(second.title.split()[1]) == pytest.approx(abs(logits[label]), rel=6e-3)
    assert_picture(pixels, above[0].box, picture.pixels)


def assert_picture(pixels, box, picture):
    """A panel shows a picture as it is, not turned nor mirrored."""
    left, top, right, bottom = (round(v * s) for v, s in zip(box, pixels.shape[1::-1] * 2, strict=True))
    shown = np.asarray(Image.fromarray(pixels[top:bottom, left:right].astype(np.uint8)).resize((W, H))).astype(float)
    assert np.abs(shown - picture).mean() < 6


def assert_overview(pixels, rows, pictures, *, negative):
    """Pictures below each other, the evidence of each class in its column, the true class framed in green."""
    assert len(rows) == len(pictures)
    for picture, (first, *row) in zip(pictures, rows, strict=True):
        assert_picture(pixels, first.box, picture.pixels)
        assert {panel.title.split()[0] for panel in row} == set(NAMES)
        full = picture.evidence.max()
        for panel in row:
            label = NAMES.index(panel.title.split()[0])
            is_true = label == picture.label
            left, top, right, _ = panel.box
            frame = pixels[round(top * len(pixels)) + 1, round((left + right) / 2 * pixels.shape[1])]
            assert (frame[1] > frame[[0, 2]].max() + 60) == is_true, panel.title
            what = f"overview: {panel.title!r}"
            assert_lit(
                pixels, panel.box, picture.pixels, picture.evidence[label], full=full, negative=negative, what=what
            )


@pytest.mark.parametrize(("kind", "negative"), KINDS)
def test_overview_png_shows_the_evidence_of_each_class_in_its_column(drawn, kind, negative):
    rows, pixels = drawn.sign[kind]["overview.png"], opened(drawn.root / kind / "overview.png")
    assert [row[0].title.split("\n")[0] for row in rows] == ["1", "5", "12"]
    assert_overview(pixels, rows, [drawn.pictures[i] for i in (1, 5, 12)], negative=negative)


def test_tensorboard_shows_the_evidence_of_each_class_in_its_column(drawn):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(next((drawn.folder / "tensorboard").rglob("events*")).parent))
    events.Reload()
    (event,) = events.Images("evidence")
    pixels = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)).convert("RGB")).astype(float)
    rows = drawn.figures["evidence"]
    numbers = [int(row[0].title.split("\n")[0]) for row in rows]
    assert len(set(numbers)) == len(numbers) > 3
    assert [row[0].title.split("\n")[1] for row in rows] == [NAMES[drawn.pictures[i].label] for i in numbers]
    assert all([panel.title.split()[0] for panel in row[1:]] == NAMES for row in rows)  # the same from epoch to epoch
    assert_overview(pixels, rows, [drawn.pictures[i] for i in numbers], negative=False)


def test_methods_png_shows_a_row_for_each_method_and_a_column_for_each_class(drawn):
    picture, pixels = drawn.pictures[4], opened(drawn.root / "methods" / "4" / "methods.png")
    rows = drawn.figures["4/methods.png"]
    labels = [NAMES.index(panel.title) for panel in rows[0][1:]]
    assert labels == [5, 1, 3]
    methods = [row[0].text for row in rows]
    assert methods == ["SCOUTER positive", "SCOUTER negative", "CAM", "GradCAM", "LayerCAM"]
    for method, row in zip(methods, rows, strict=True):
        for label, panel in zip(labels, row[1:], strict=True):
            values = picture.evidence[label]
            if not method.startswith("SCOUTER"):
                values = (values > 0.1).astype(float)  # each scaled by itself
            full = picture.evidence[labels].max() if method.startswith("SCOUTER") else 1
            what = f"{method}, {NAMES[label]}"
            assert_lit(pixels, panel.box, picture.pixels, values, full=full, negative="negative" in method, what=what)


@pytest.mark.parametrize("method", ["CAM", "GradCAM", "LayerCAM"])
def test_the_files_of_a_method_are_exact(drawn, method):
    picture, folder = drawn.pictures[4], drawn.root / "methods" / "4"
    assert {p.name for p in folder.glob(f"{method}_*")} == {
        f"{method}_{c}{e}.png" for c in (1, 3, 5) for e in ("", "_mask")
    }
    for label in (1, 3, 5):
        lit = (picture.evidence[label] > 0.1).astype(float)
        np.testing.assert_array_equal(np.asarray(Image.open(folder / f"{method}_{label}_mask.png")), 255 * lit)
        assert_jet_over(opened(folder / f"{method}_{label}.png"), picture.pixels, lit)


def embedded(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


@pytest.mark.parametrize("kind", ["use_slot", "use_slot_negative"])
def test_the_report_lays_the_maps_of_both_signs_over_their_picture(drawn, kind):
    page = (drawn.root / f"{kind}.html").read_text()
    cards = re.findall(r"<article.*?</article>", page, re.S)
    # The layers cover their picture to its edges.
    assert re.search(r"\.base \+ \.layer \{ position: absolute; inset: 0; width: 100%; height: 100%; \}", page)
    assert not re.search(r"\.layer \{[^}]*(transform|translate|margin|object-position)", page)
    assert sorted(int(re.search(r"<h3[^>]*><bdi>(\d+)</bdi></h3>", card)[1]) for card in cards) == [1, 5, 12]
    for card in cards:
        picture = drawn.pictures[int(re.search(r"<h3[^>]*><bdi>(\d+)</bdi></h3>", card)[1])]
        (shown,) = re.findall(r'<img class="picture[^"]*" src="([^"]*)" width="(\d+)" height="(\d+)"', card)
        assert shown[1:] == (str(W), str(H))
        assert np.abs(np.asarray(embedded(shown[0]).convert("RGB")) - picture.pixels.astype(float)).mean() < 6
        maps = re.findall(
            r'<img class="layer (\w+)" src="([^"]*)" width="(\d+)" height="(\d+)" alt="([^"]*)".*?<span class="name">'
            r"<bdi>(\w+)</bdi></span>.*?<span>(\S+)&nbsp;%</span> <span>logit&nbsp;([^<]+)</span>", card, re.S,
        )  # fmt: skip
        assert len(maps) == len(re.findall('<img class="layer (positive|negative)"', card))
        wrong = 'class="mark wrong"' in card  # a contrast with the true class follows
        assert card.count('<img class="layer contrast"') == wrong and card.count("rather than") >= wrong
        for sign, negative in (("positive", False), ("negative", True)):
            own = [entry for entry in maps if entry[0] == sign]
            labels = [NAMES.index(entry[5]) for entry in own]
            assert len(set(labels)) == len(labels) >= 4 and picture.label in labels
            logits = (-1 if negative else 1) * picture.evidence.sum((1, 2))
            probabilities = np.exp(logits) / np.exp(logits).sum()
            full = picture.evidence[labels].max()
            for label, (_, uri, width, height, alt, name, probability, logit) in zip(labels, own, strict=True):
                pixels = np.asarray(embedded(uri).convert("RGBA")).astype(float)
                assert (width, height) == (str(W), str(H)) and name in alt
                assert np.abs(pixels[..., 3] - picture.evidence[label] / full * 255).max() <= 1
                assert (pixels[..., :3] == ((0, 51, 217) if negative else (214, 26, 0))).all()
                assert float(probability) == pytest.approx(100 * probabilities[label], abs=0.06)
                assert float(logit) == pytest.approx(logits[label], rel=6e-3)
