"""Steps are done once, again when something that they depend on has changed, and a failed one does not end the rest."""

import ast
import json
from pathlib import Path

import pytest

from studies.field.measure import MEASURING_CODE
from studies.field.models import TRAINING_CODE
from studies.field.steps import Steps
from studies.head_study import content
from studies.head_study.content import code_fingerprint


class Work:
    """Work that counts how often it is done."""

    def __init__(self, result):
        self.result, self.times = result, 0

    def __call__(self):
        self.times += 1
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def test_a_step_is_done_once(tmp_path, capsys):
    work, file = Work({"top1": 0.5, "pair": (1, 2)}), tmp_path / "a" / "step.json"
    first = Steps().run("train", file, {"size": (2, 3)}, work)
    second = Steps().run("train", file, {"size": (2, 3)}, work)
    assert work.times == 1 and first == second == {"top1": 0.5, "pair": [1, 2]}
    assert capsys.readouterr().out == "train: done before\n"


@pytest.mark.parametrize("made_of", [{"size": [2, 4]}, {"size": [2, 3], "more": None}, {}])
def test_a_changed_setting_is_done_again(tmp_path, made_of):
    work, file = Work({"top1": 0.5}), tmp_path / "step.json"
    Steps().run("train", file, {"size": (2, 3)}, work)
    Steps().run("train", file, made_of, work)
    assert work.times == 2
    Steps().run("train", file, made_of, work)
    assert work.times == 2


def test_a_missing_or_damaged_file_is_done_again(tmp_path):
    work, file, other = Work({"top1": 0.5}), tmp_path / "step.json", tmp_path / "head.safetensors"
    other.touch()
    Steps().run("train", file, {}, work, also=(other,))
    Steps().run("train", file, {}, work, also=(other,))
    assert work.times == 1
    other.unlink()
    Steps().run("train", file, {}, work, also=(other,))
    other.write_bytes(b"damaged")
    Steps().run("train", file, {}, work, also=(other,))
    Steps().run("train", file, {}, work, also=(other,))
    assert work.times == 3
    file.write_text(file.read_text()[:-20])
    Steps().run("train", file, {}, work, also=(other,))
    assert work.times == 4


def test_a_failure_is_one_line_and_is_tried_again(tmp_path, caplog):
    file, steps = tmp_path / "RISE.json", Steps()
    assert steps.run("CUB, RISE", file, {}, Work(ValueError("no such layer\nin this model"))) is None
    assert steps.run("CUB, CAM", tmp_path / "CAM.json", {}, Work({"area": 0.1})) == {"area": 0.1}
    assert steps.failed == [("CUB, RISE", "no such layer")] and not file.exists()
    note = tmp_path / "RISE.error.txt"
    assert [record.getMessage() for record in caplog.records] == [f"CUB, RISE failed: no such layer ({note})"]
    assert "Traceback" in note.read_text()
    assert Steps().run("CUB, RISE", file, {}, Work({"area": 0.2})) == {"area": 0.2}
    assert not note.exists()


def test_an_interruption_is_no_failure(tmp_path):
    class Interrupted:
        def __call__(self):
            raise KeyboardInterrupt

    steps = Steps()
    with pytest.raises(KeyboardInterrupt):
        steps.run("train", tmp_path / "step.json", {}, Interrupted())
    assert not steps.failed and not list(tmp_path.iterdir())


def test_what_is_not_finite_is_null(tmp_path):
    found = Steps().run("train", tmp_path / "step.json", {}, Work({"gap": float("nan"), "few": [float("inf"), 1]}))
    assert found == {"gap": None, "few": [None, 1]}
    assert json.loads((tmp_path / "step.json").read_text())["result"] == found


def test_the_fingerprint_of_code_changes_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(content, "ROOT", tmp_path)
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "a.py").write_text("x = 1\n")
    (tmp_path / "b.py").write_text("y = 1\n")
    before = code_fingerprint("engine", "b.py")
    assert code_fingerprint("engine", "b.py") == before != code_fingerprint("engine")
    (tmp_path / "engine" / "a.py").write_text("x = 2\n")
    after = code_fingerprint("engine", "b.py")
    assert after != before
    (tmp_path / "engine" / "a.py").rename(tmp_path / "engine" / "c.py")
    assert code_fingerprint("engine", "b.py") != after


@pytest.mark.parametrize("file", ["train", "evaluate"])
def test_what_training_and_evaluation_use_of_the_engine_is_part_of_the_fingerprint(file):
    tree = ast.parse((content.ROOT / "engine" / f"{file}.py").read_text())
    used = [f"{node.module}.{name.name}" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
            for name in node.names if node.module.startswith(("engine.", "tools.distributed.meters"))]  # fmt: skip
    files = [Path(*name.split(".")[:-1]).with_suffix(".py") for name in used]
    assert Path("engine/accuracy.py") in files
    code = [*map(Path, TRAINING_CODE + MEASURING_CODE)]
    assert [name for name in files if not any(name.is_relative_to(part) for part in code)] == []
