"""A whole small run, whose figures are computed again with plain NumPy from logits and maps.

Seven classes, two slots each, pictures that are not square, both signs, a validation split that no batch divides, and
pictures whose pixels are known without resizing: stored at the model's size, lying or mirrored by EXIF, or with rows
of one colour at twice the width. Seven validation pictures look alike and have seven labels, so that whatever was
learned, one of them has each rank: a top-5 that counts six cannot be right.
"""

import contextlib
import csv
import html
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from sloter.slot_model import build_model

NAMES = ["Wren", "Kite", "Heron", "Auk", "Tern", "Dove", "Jay"]  # not in the order of the alphabet
C, S, H, W = len(NAMES), 2, 32, 48
TRAINED = (4, 5, 6, 4, 5, 6, 5)  # pictures of each class
LAMBDA, POWER = 2.0, 1.5
BATCH = 8
MODEL = "--model test_resnet --out_stage 2 --pre_trained false --attention qknorm --hidden_dim 16"
DATA = f"--dataset CUB200 --num_classes {C} --img_size {H}x{W} --num_workers 0 --device cpu"
LOSS = f"--lambda_value {LAMBDA} --power {POWER}"
FEW = "--explain_metrics true --metric_steps 1 --infidelity_samples 1 --sensitivity_samples 0"
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
POSITIVE, NEGATIVE = "CUB200_use_slot", "CUB200_use_slot_negative"
# Stored picture to upright picture, by EXIF orientation.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.fixture(scope="module", autouse=True)
def _few_threads():
    """One, in place of the usual two, from the first run on: models this small are slower with more."""
    torch.set_num_threads(1)


def draw_picture(rng, look, kind):
    """A picture as it is stored, its box there, its EXIF orientation, and what the model should see of both."""
    orientation = kind if isinstance(kind, int) else 1
    height, width = (W, H) if orientation > 4 else (H, W)
    pixels = rng.integers(60, 120, (height, width, 3))
    left, top = int(rng.integers(0, width // 2)), int(rng.integers(0, height // 2))
    right, bottom = left + int(rng.integers(8, width // 2)), top + int(rng.integers(6, height // 2))
    pixels[top:bottom, left:right] = np.array([[230, 20, 20], [20, 230, 20], [20, 20, 230]])[look % 3]
    pixels[top : top + 2 + look, left:right] = 250 - 30 * look
    if kind == "wide":  # rows of one colour, twice as wide: resizing gives them back as they are
        pixels = np.repeat(pixels[:, :1], 2 * width, axis=1)
        left, right = 2 * left, 2 * right
    stored = pixels.astype(np.uint8)
    mask = np.zeros(stored.shape[:2], bool)
    mask[top:bottom, left:right] = True
    seen, mask = UPRIGHT[orientation](stored), UPRIGHT[orientation](mask)
    if kind == "wide":
        seen, mask = seen[:, ::2], mask[:, ::2]
    rows, columns = np.nonzero(mask)
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    return SimpleNamespace(stored=stored, at=(left, top, right, bottom), orientation=orientation, seen=seen, box=box)


def save(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = picture.orientation
    Image.fromarray(picture.stored).save(path, exif=exif)


def make_cub200(root):
    """The files of CUB-200-2011; returns pictures (with labels) of both splits in the order of the split file."""
    rng = np.random.default_rng(7)
    alike = draw_picture(rng, 2, 1)
    kinds = [1, 6, "wide", 3, 8, 2, 5, "wide", 4, 7]
    train = [(label, None) for label, count in enumerate(TRAINED) for _ in range(count)]
    val = [(label, alike) for label in range(C)] + [(label % C, None) for label in range(2 * C + 2)]
    wanted = [("1", *entry) for entry in train] + [("0", *entry) for entry in val]
    order = rng.permutation(len(wanted))  # pictures of a class do not stand together
    lines = {name: [] for name in ("classes", "images", "image_class_labels", "train_test_split", "bounding_boxes")}
    lines["classes"] = [f"{label + 1} {label + 1:03}.{name}" for label, name in enumerate(NAMES)]
    splits = {"0": [], "1": []}
    for key, place in enumerate(order, 1):
        split, label, picture = wanted[place]
        picture = picture or draw_picture(rng, label, kinds[key % len(kinds)])
        name = f"{label + 1:03}.{NAMES[label]}/{key}.png"
        save(root / "images" / name, picture)
        left, top, right, bottom = picture.at
        lines["images"].append(f"{key} {name}")
        lines["image_class_labels"].append(f"{key} {label + 1}")
        lines["train_test_split"].append(f"{key} {split}")
        lines["bounding_boxes"].append(f"{key} {left}.0 {top}.0 {right - left}.0 {bottom - top}.0")
        splits[split].append(SimpleNamespace(label=label, seen=picture.seen, boxes=[picture.box]))
    for name, rows in lines.items():
        (root / f"{name}.txt").write_text("\n".join(rows) + "\n")
    return splits["1"], splits["0"]


def make_imagenet(root):
    """A validation split in ImageNet's layout whose pictures have one to three boxes; returns it in its order."""
    rng, found = np.random.default_rng(8), []
    wnids = ["n01440764", "n01484850", "n01806143", "n02123045", "n02504458", "n04285008", "n07753592"]
    for label, wnid in enumerate(wnids):
        (root / "Data" / "CLS-LOC" / "train" / wnid).mkdir(parents=True)
        for number in range(2):
            picture = draw_picture(rng, label, 1)
            stem = f"{wnid}_{number}"
            save(root / "Data" / "CLS-LOC" / "val" / wnid / f"{stem}.png", picture)
            boxes = [tuple(map(int, picture.box)), (0, 0, 9, 11), (30, 12, 47, 32)][: 1 + (label + number) % 3]
            fields = ("xmin", "ymin", "xmax", "ymax")
            objects = "".join(
                f"<object><bndbox>{''.join(f'<{f}>{v}</{f}>' for f, v in zip(fields, box, strict=True))}"
                "</bndbox></object>"
                for box in boxes
            )
            place = root / "Annotations" / "CLS-LOC" / "val" / f"{stem}.xml"
            place.parent.mkdir(parents=True, exist_ok=True)
            frame = f"<size><width>{W}</width><height>{H}</height></size>"
            place.write_text(f"<annotation>{frame}{objects}</annotation>")
            found.append(SimpleNamespace(label=label, seen=picture.seen, boxes=boxes))
    return found


# The oracle: nothing but NumPy from here on, except for the forward pass.


def as_input(pictures):
    """(b, 3, H, W) of what the model should see, normalised."""
    pixels = np.stack([picture.seen for picture in pictures]).astype(np.float64)
    return torch.from_numpy(((pixels / 255 - MEAN) / STD).transpose(0, 3, 1, 2)).float()


def labels_of(pictures):
    return np.array([picture.label for picture in pictures])


def model_of(path):
    state = torch.load(path, weights_only=True)
    model = build_model(**state["model_config"]).eval()
    model.load_state_dict(state["model"])
    return model


@torch.no_grad()
def outputs(path, pictures):
    """Logits (b, c), maps (b, c, s, h, w) and what places count (b, h, w), a few pictures at a time."""
    model = model_of(path)
    parts = [model(images) for images in as_input(pictures).split(5)]
    return [
        None if parts[0][i] is None else torch.cat([part[i] for part in parts]).double().numpy() for i in range(3)
    ]  # fmt: skip


def ranks(logits, labels):
    """How many classes stand before the true one; of equal logits the lower index does."""
    own = np.take_along_axis(logits, labels[:, None], 1)
    return ((logits > own) | ((logits == own) & (np.arange(logits.shape[1]) < labels[:, None]))).sum(1)


def log_softmax(logits):
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def areas(attn):
    """(b, c): each map scaled over all classes of its picture, averaged over the grid."""
    maps = attn.sum(2)
    low, high = (f(maps.reshape(len(maps), -1), 1)[:, None, None, None] for f in (np.min, np.max))
    return ((maps - low) / (high - low)).mean((2, 3))


def reference(path, pictures, *, explained=None):
    """Every figure of a split. ``explained``: the class whose map is measured for each true one; None: all wrong."""
    (logits, attn, _), labels = outputs(path, pictures), labels_of(pictures)
    rank, rows = ranks(logits, labels), np.arange(len(labels))
    ce, attn_mean = -log_softmax(logits)[rows, labels].mean(), attn.mean()
    own = areas(attn)
    if explained is None:
        wrong = np.arange(logits.shape[1]) != labels[:, None]
        area = (own * wrong).sum(1) / wrong.sum(1)
    else:
        area = own[rows, np.array(explained)[labels]]
    return {
        "top1": (rank < 1).mean(),
        "top5": (rank < 5).mean(),
        "ce": ce,
        "attn_mean": attn_mean,
        "area_loss": attn_mean**POWER,
        "loss": ce + LAMBDA * attn_mean**POWER,
        "area": area.mean(),
    }


def bilinear(maps, height, width):
    """(b, h, w) to (b, height, width): pixel centres, edges repeated."""

    def weights(size, small):
        place = np.clip((np.arange(size) + 0.5) * small / size - 0.5, 0, small - 1)
        low = np.floor(place).astype(int)
        matrix = np.zeros((size, small))
        np.add.at(matrix, (np.arange(size), low), 1 - (place - low))
        np.add.at(matrix, (np.arange(size), np.minimum(low + 1, small - 1)), place - low)
        return matrix

    return np.einsum("ih,bhw,jw->bij", weights(height, maps.shape[1]), maps, weights(width, maps.shape[2]))


def on_boxes(maps, pictures):
    """Means of the mass in the best box, in any box, and of the highest pixel being in one."""
    large, figures = bilinear(maps, H, W), []
    for picture, own in zip(pictures, large, strict=True):
        masks = np.zeros((len(picture.boxes), H, W), bool)
        for mask, (left, top, right, bottom) in zip(masks, picture.boxes, strict=True):
            mask[top:bottom, left:right] = True
        mass = [own[mask].sum() / own.sum() for mask in masks]
        union = masks.any(0)
        figures.append((max(mass), own[union].sum() / own.sum(), float(union.flat[own.argmax()])))
    return dict(zip(("precision", "energy", "pointing"), np.mean(figures, 0), strict=True))


def least_similar(path, pictures):
    """For each class the one whose pooled features are least like its own: mean cosine over pairs of pictures."""
    with torch.no_grad():
        pooled = model_of(path).backbone.forward_features(as_input(pictures)).double().numpy().mean((2, 3))
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    cosines, labels = pooled @ pooled.T, labels_of(pictures)
    pairs = [[cosines[labels == a][:, labels == b].mean() if a != b else np.inf for b in range(C)] for a in range(C)]
    return np.argmin(pairs, 1).tolist()


def position_code(h, w, d):
    """(h * w, d): row channels, then column channels; sine on even, cosine on odd ones."""
    code = np.zeros((h, w, d))
    for channel in range(d // 2):
        rate = 10000.0 ** (2 * (channel // 2) / (d // 2))
        wave = np.cos if channel % 2 else np.sin
        code[:, :, channel] = wave(np.arange(1, h + 1) / (h + 1e-6) * 2 * np.pi / rate)[:, None]
        code[:, :, d // 2 + channel] = wave(np.arange(1, w + 1) / (w + 1e-6) * 2 * np.pi / rate)[None]
    return code.reshape(h * w, d)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def keys_and_values(weights, features):
    """(b, f, h, w) features to keys and values, (b, n, d) each, in the published form with a single key layer."""
    b, f, h, w = features.shape
    kernel = weights["conv1x1.weight"][:, :, 0, 0]
    values = np.maximum(features.reshape(b, f, h * w).transpose(0, 2, 1) @ kernel.T + weights["conv1x1.bias"], 0)
    keys_in = values + position_code(h, w, values.shape[2])
    return keys_in @ weights["slot.to_k.0.weight"].T + weights["slot.to_k.0.bias"], values


def slot_head(weights, features, *, iters=3):
    """Attention (b, k, n) and the mean of the values (b, n), by the equations of the paper with cosine scores."""
    keys, values = keys_and_values(weights, features)
    scale, bias = np.exp(weights["slot.normaliser.log_scale"]), weights["slot.normaliser.bias"]
    d = values.shape[2]
    slots = np.broadcast_to(weights["slot.initial_slots"], (len(keys), *weights["slot.initial_slots"].shape))
    for number in range(iters):
        attn = sigmoid(scale * unit(slots) @ unit(keys).transpose(0, 2, 1) + bias)
        if number + 1 < iters:
            update = attn @ values / d
            given = update @ weights["slot.gru.weight_ih"].T + weights["slot.gru.bias_ih"]
            kept = slots @ weights["slot.gru.weight_hh"].T + weights["slot.gru.bias_hh"]
            (r_in, z_in, n_in), (r_h, z_h, n_h) = np.split(given, 3, -1), np.split(kept, 3, -1)
            gate = sigmoid(z_in + z_h)
            slots = (1 - gate) * np.tanh(n_in + sigmoid(r_in + r_h) * n_h) + gate * slots
    return attn, values.mean(2)


# The runs.


def last_records(folder):
    """The last epoch of each run in a log."""
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {record["run"]: record for record in records}


def row_of(folder, dataset="CUB200"):
    """The one row of metrics.json of a data set."""
    (row,) = [row for row in json.loads((folder / "metrics.json").read_text())["rows"] if row["dataset"] == dataset]
    return row


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


@contextlib.contextmanager
def figures_saved():
    """Every figure that is saved while it lasts, by the name of its file."""
    saved, before = {}, Figure.savefig

    def savefig(self, file, *args, **options):
        before(self, file, *args, **options)
        saved[Path(file.name).name.rsplit(".", 2)[0]] = self

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Figure, "savefig", savefig)
        yield saved


@pytest.fixture(scope="module")
def run(tmp_path_factory, module_scripts):
    """Both signs trained for two epochs, evaluated, explained and scored; what was printed and stored."""
    root = tmp_path_factory.mktemp("whole")
    train, val = make_cub200(root / "cub")
    folder = root / "run"
    common = f"{DATA} --dataset_dir {root / 'cub'} {MODEL} {LOSS} --slots_per_class {S} --batch_size {BATCH}"
    common += f" --lr 3e-3 --epochs 2 --output_dir {folder}"
    found = SimpleNamespace(root=root, folder=folder, train=train, val=val, scripts=module_scripts)
    found.trained = {sign: module_scripts("train", common, f"--loss_status {sign}") for sign in (1, -1)}
    found.paths = {1: folder / f"{POSITIVE}_checkpoint.pth", -1: folder / f"{NEGATIVE}_checkpoint.pth"}
    found.log = last_records(folder)
    found.tested, found.results, found.rows, found.report = {}, {}, {}, root / "report.html"
    common = f"--num_workers 0 --batch_size 5 {FEW}"
    with figures_saved() as found.figures:
        for sign, more in ((-1, ""), (1, f"--vis_id 2 --vis false --report {found.report}")):
            found.tested[sign] = module_scripts("test", f"--checkpoint {found.paths[sign]} {common} {more}")
            found.results[sign] = results_of(folder)
            found.rows[sign] = row_of(folder)
            found.table = (folder / "metrics.csv").read_text()
            (folder / "metrics.json").unlink()
    return found


@pytest.fixture(scope="module")
def still(tmp_path_factory, module_scripts, run):
    """An epoch of a single batch at a rate that moves no weight: its figures follow from the checkpoint.

    One slot a class, which starts at the mean key of its class.
    """
    folder = tmp_path_factory.mktemp("still")
    common = f"{DATA} --dataset_dir {run.root / 'cub'} {MODEL} {LOSS} --slots_per_class 1 --slot_init means --epochs 1"
    common += f" --lr 1e-30 --weight_decay 0 --batch_size 64 --output_dir {folder}"
    common += " --class_weights balanced --label_smoothing 0.1 --temperature 1.5"
    for sign in (1, -1):
        module_scripts("train", common, f"--loss_status {sign}")
    paths = {1: folder / f"{POSITIVE}_checkpoint.pth", -1: folder / f"{NEGATIVE}_checkpoint.pth"}
    return SimpleNamespace(paths=paths, log={1: last_records(folder)[POSITIVE], -1: last_records(folder)[NEGATIVE]})


FIGURES = ("top1", "top5", "ce", "attn_mean", "area_loss", "loss", "area")


def assert_figures(found, expected, prefix=""):
    for name in FIGURES:
        assert found[prefix + name] == pytest.approx(expected[name], rel=2e-5), name


def expected_of(run, sign):
    return reference(run.paths[sign], run.val, explained=range(C) if sign > 0 else None)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_model_is_the_paper_s_equations(run, sign):
    logits, attn, values = outputs(run.paths[sign], run.val)
    model = model_of(run.paths[sign])
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}
    with torch.no_grad():
        features = model.backbone.forward_features(as_input(run.val)).double().numpy()
    own_attn, own_values = slot_head(weights, features)
    h, w = features.shape[2:]
    assert attn.shape[1:] == (C, S, h, w) and values.shape[1:] == (h, w) and h != w
    np.testing.assert_allclose(attn.reshape(own_attn.shape), own_attn, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(values.reshape(own_values.shape), own_values, rtol=1e-4, atol=1e-6)
    evidence = (own_attn * own_values[:, None]).reshape(len(logits), C, S, -1).sum((2, 3))
    np.testing.assert_allclose(logits, sign * evidence, rtol=1e-3)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_stored_results_follow_from_logits_and_maps(run, sign):
    expected = expected_of(run, sign)
    assert run.results[sign]["images"] == len(run.val) and len(run.val) % BATCH and len(run.val) % 5
    assert run.results[sign]["lambda_value"] == LAMBDA and run.results[sign]["power"] == POWER
    assert_figures(run.results[sign], expected)
    rank = ranks(outputs(run.paths[sign], run.val)[0], labels_of(run.val))
    assert {4, 5} <= set(rank.tolist())  # so that neither a top-4 nor a top-6 would be the same


@pytest.mark.parametrize("sign", [1, -1])
def test_the_log_of_the_last_epoch_follows_from_logits_and_maps(run, sign):
    record = run.log[POSITIVE if sign > 0 else NEGATIVE]
    assert_figures(record, expected_of(run, sign), "val_")
    assert record["loss"] == pytest.approx(record["ce"] + LAMBDA * record["area_loss"], rel=1e-5)
    # whole batches only: 32 of the 35 pictures
    assert record["images_per_s"] * record["seconds"] == pytest.approx(len(run.train) // BATCH * BATCH)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_printed_lines_tell_the_same(run, sign):
    expected = expected_of(run, sign)
    line = next(line for line in run.tested[sign].splitlines() if "pictures of CUB200" in line)
    told = re.search(r"top-1 (\S+)%, top-5 (\S+)%, loss (\S+), attention (\S+), area (\S+)", line)
    names = ("top1", "top5", "loss", "attn_mean", "area")
    for text, name in zip(told.groups(), names, strict=True):
        factor = 100 if name.startswith("top") else 1
        assert float(text) == pytest.approx(factor * expected[name], abs=0.006 if factor > 1 else 6e-5), name
    epoch = next(line for line in run.trained[sign].splitlines() if line.startswith("epoch 2/2"))
    told = re.search(r"\| val loss (\S+), top-1 (\S+)%, top-5 (\S+)%, area (\S+) \|", epoch)
    for text, name in zip(told.groups(), ("loss", "top1", "top5", "area"), strict=True):
        factor = 100 if name.startswith("top") else 1
        assert float(text) == pytest.approx(factor * expected[name], abs=0.006 if factor > 1 else 6e-4), name


def confusion_of(run, sign):
    logits, labels = outputs(run.paths[sign], run.val)[0], labels_of(run.val)
    counts = np.zeros((C, C), int)
    np.add.at(counts, (labels, logits.argmax(1)), 1)
    return counts


@pytest.mark.parametrize("sign", [1, -1])
def test_the_accuracy_of_each_class_has_its_name(run, sign):
    counts = confusion_of(run, sign)
    expected = {name: counts[label, label] / counts[label].sum() for label, name in enumerate(NAMES)}
    assert run.results[sign]["per_class"] == pytest.approx(expected)
    line = next(line for line in run.tested[sign].splitlines() if line.startswith("by class"))
    worst, best, names = min(expected.values()), max(expected.values()), "|".join(NAMES)
    told = re.fullmatch(rf"by class: (\S+)% \(({names})\) to (\S+)% \(({names})\)", line)
    assert [float(told[1]), float(told[3])] == pytest.approx([100 * worst, 100 * best], abs=0.006)
    assert expected[told[2]] == worst and expected[told[4]] == best


def test_the_confusion_matrix_has_true_classes_as_rows(run):
    figure = run.figures["CUB200_use_slot_confusion.png"]
    counts, shown = confusion_of(run, 1), np.zeros((C, C), int)
    assert not np.array_equal(counts, counts.T)
    for text in figure.axes[0].texts:
        column, row = text.get_position()
        shown[row, column] = int(text.get_text())
    np.testing.assert_array_equal(shown, counts)
    shares = counts / counts.sum(1, keepdims=True)
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), shares, rtol=1e-6)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == NAMES
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("predicted", "true")


def test_a_positive_model_is_measured_on_the_maps_of_the_true_class(run):
    row, (_, attn, _), labels = run.rows[1], outputs(run.paths[1], run.val), labels_of(run.val)
    maps = attn.sum(2)[np.arange(len(labels)), labels]
    assert row["images"] == len(run.val) and row["explained"] is None
    assert row["area"] == pytest.approx(run.results[1]["area"], rel=1e-5)
    for name, value in on_boxes(maps, run.val).items():
        assert row[name] == pytest.approx(value, rel=1e-5), name
    # another class's map would have told something else
    assert row["precision"] != pytest.approx(on_boxes(attn.sum(2)[:, 0], run.val)["precision"], rel=1e-3)


def test_a_negative_model_is_measured_on_the_maps_of_the_class_least_similar_by_features(run):
    row, (_, attn, _), labels = run.rows[-1], outputs(run.paths[-1], run.val), labels_of(run.val)
    explained = least_similar(run.paths[-1], run.val)
    assert row["explained"] == explained
    chosen = np.array(explained)[labels]
    maps = attn.sum(2)[np.arange(len(labels)), chosen]
    assert row["area"] == pytest.approx(areas(attn)[np.arange(len(labels)), chosen].mean(), rel=1e-5)
    for name, value in on_boxes(maps, run.val).items():
        assert row[name] == pytest.approx(value, rel=1e-5), name


def test_a_file_says_which_class_a_negative_model_explains(run, tmp_path):
    explained = [3, 0, 5, 6, 1, 2, 4]
    lines = [f"{NAMES[label]},{NAMES[other]}" for label, other in enumerate(explained)]
    (tmp_path / "lsc.csv").write_text("\n".join(lines[::-1]) + "\n")
    run.scripts("test", f"--checkpoint {run.paths[-1]} --num_workers 0 --lsc {tmp_path / 'lsc.csv'} {FEW}")
    assert_figures(results_of(run.folder), reference(run.paths[-1], run.val, explained=explained))
    row = row_of(run.folder)
    (run.folder / "metrics.json").unlink()
    (_, attn, _), labels = outputs(run.paths[-1], run.val), labels_of(run.val)
    maps = attn.sum(2)[np.arange(len(labels)), np.array(explained)[labels]]
    assert row["explained"] == explained
    assert row["precision"] == pytest.approx(on_boxes(maps, run.val)["precision"], rel=1e-5)


@pytest.mark.parametrize("kind", ["attention", "evidence"])
def test_precision_is_that_of_the_best_of_several_boxes(run, tmp_path, kind):
    pictures = make_imagenet(tmp_path / "ILSVRC")
    place = f"--dataset ImageNet --dataset_dir {tmp_path / 'ILSVRC' / 'Data' / 'CLS-LOC'}"
    # Of other classes than those of the training: a checkpoint without names takes them in the order of the data.
    nameless = run.folder / "nameless_checkpoint.pth"
    state = torch.load(run.paths[1], weights_only=True)
    del state["data_config"]["class_names"]
    torch.save(state, nameless)
    run.scripts("test", f"--checkpoint {nameless} --num_workers 0 {place} --map {kind} {FEW}")
    row = row_of(run.folder, "ImageNet")
    (run.folder / "metrics.json").unlink()
    (_, attn, values), labels = outputs(run.paths[1], pictures), labels_of(pictures)
    every = attn.sum(2) * (values[:, None] if kind == "evidence" else 1)
    assert row["images"] == len(pictures)
    assert row["area"] == pytest.approx(areas(every[:, :, None])[np.arange(len(labels)), labels].mean(), rel=1e-5)
    found = on_boxes(every[np.arange(len(labels)), labels], pictures)
    assert found["energy"] > 1.02 * found["precision"]
    for name, value in found.items():
        assert row[name] == pytest.approx(value, rel=1e-5), name


def test_the_report_and_the_tables_tell_the_stored_figures(run):
    expected, row = expected_of(run, 1), run.rows[1]
    page = html.unescape(run.report.read_text()).replace("\xa0", " ")
    for name in ("top1", "top5"):
        told = re.search(rf"<dt>{name}</dt><dd>(\S+) %</dd>", page)[1]
        assert float(told) == pytest.approx(100 * expected[name], abs=0.006)
    parts = re.search(r'class="metrics">(.*?)</thead>(.*?)</table>', page, re.S).groups()
    in_page = dict(zip(*(re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", part) for part in parts), strict=True))
    screen = run.tested[1].splitlines()
    head = next(number for number, line in enumerate(screen) if line.split()[:1] == ["method"])
    lines = screen[head : head + 2]
    on_screen = dict(zip(*(re.split(r" {2,}", line.strip()) for line in lines), strict=True))
    in_file = next(csv.DictReader(io.StringIO(run.table)))
    for name in ("area", "precision", "pointing", "energy"):
        for told in (in_page[name], on_screen[name], in_file[name]):
            assert float(told.partition(" ")[0]) == pytest.approx(row[name], abs=6e-5)


def test_the_curves_of_the_report_end_at_the_last_record_of_each_run(run):
    page = html.unescape(run.report.read_text())
    for title, factor, name in (("Loss", 1, "loss"), ("Top-1 accuracy, %", 100, "top1")):
        told = re.search(rf'aria-label="{re.escape(title)} by epoch; last: ([^"]*)"', page)[1]
        ends = [end.split() for end in told.split("; ")]
        assert {(who, what): float(value) for who, what, value in ends} == {
            (who, what): pytest.approx(factor * run.log[who][prefix + name], rel=1e-3)
            for who in (POSITIVE, NEGATIVE)
            for what, prefix in (("training", ""), ("validation", "val_"))
        }


def test_equal_logits_go_to_the_class_of_lower_index(run, tmp_path):
    flags = f"{DATA} --dataset_dir {run.root / 'cub'} {MODEL} --use_slot false --epochs 1 --batch_size {BATCH}"
    run.scripts("train", f"{flags} --output_dir {tmp_path}")
    path = tmp_path / "CUB200_no_slot_checkpoint.pth"
    state = torch.load(path, weights_only=True)
    state["model"]["backbone.fc.weight"].zero_()
    state["model"]["backbone.fc.bias"].copy_(torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]))
    torch.save(state, path)
    run.scripts("test", f"--checkpoint {path} --num_workers 0")
    results, labels = results_of(tmp_path), labels_of(run.val)
    # in order: 3, 4, 5, 6, 0, 1, 2
    assert results["top1"] == pytest.approx((labels == 3).mean())
    assert results["top5"] == pytest.approx(np.isin(labels, [3, 4, 5, 6, 0]).mean())
    assert results["per_class"] == {name: float(label == 3) for label, name in enumerate(NAMES)}
    chance = np.log(np.exp([0, 0, 0, 1, 1, 1, 1]).sum()) - np.array([0, 0, 0, 1, 1, 1, 1])
    assert results["loss"] == results["ce"] == pytest.approx(chance[labels].mean(), rel=1e-5)
    assert results["attn_mean"] == results["area_loss"] == 0 and "area" not in results


@pytest.mark.parametrize("sign", [1, -1])
def test_the_figures_of_training_follow_from_logits_and_maps(run, still, sign):
    record, labels = still.log[sign], labels_of(run.train)
    model = model_of(still.paths[sign]).train()  # batch norm by the batch, which is the whole split
    with torch.no_grad():
        output = model(as_input(run.train))
    logits, attn_mean = output.logits.double().numpy(), output.attn.double().mean().item()
    counts = np.array(TRAINED)
    weights = counts.sum() / (C * counts)  # each class weighs alike
    told = -log_softmax(logits / 1.5)
    own = weights[labels] * told[np.arange(len(labels)), labels]
    ce = (0.9 * own + 0.1 / C * (told * weights).sum(1)).mean()
    expected = {"ce": ce, "attn_mean": attn_mean, "area_loss": attn_mean**POWER, "loss": ce + LAMBDA * attn_mean**POWER}
    rank = ranks(logits, labels)
    expected |= {"top1": (rank < 1).mean(), "top5": (rank < 5).mean()}
    for name, value in expected.items():
        assert record[name] == pytest.approx(value, rel=1e-4), name
    assert record["images_per_s"] * record["seconds"] == pytest.approx(len(run.train))


@pytest.mark.parametrize("sign", [1, -1])
def test_slots_start_at_what_sets_the_mean_key_of_their_class_apart(run, still, sign):
    weights = torch.load(still.paths[sign], weights_only=True)["model"]
    for name, value in weights.items():  # as before training: only running statistics have moved
        if name.endswith(("running_mean", "running_var")):
            value.fill_(float(name.endswith("var")))
    state = torch.load(still.paths[sign], weights_only=True)
    model = build_model(**state["model_config"]).eval()
    model.load_state_dict(weights)
    with torch.no_grad():
        features = model.backbone.forward_features(as_input(run.train)).double().numpy()
    weights = {name: value.double().numpy() for name, value in weights.items()}
    keys, _ = keys_and_values(weights, features)
    mean_keys = (np.exp(weights["slot.normaliser.log_scale"]) * unit(keys)).mean(1)  # (b, d)
    labels = labels_of(run.train)
    means = np.stack([mean_keys[labels == label].mean(0) for label in range(C)])
    apart = means - means.mean(0)
    np.testing.assert_allclose(weights["slot.initial_slots"], sign * apart / apart.std(ddof=1), rtol=2e-3, atol=2e-3)
