"""The planted faults of tests/mutants still fit the code and name tests that exist; the slow test plants them all."""

import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("mutants", ROOT / "tests" / "mutants" / "run.py")
mutants = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mutants)
AREAS = {  # the files that a fault of each area is planted in
    "slot arithmetic": ("sloter/", "engine/slot_init.py"),
    "metrics": ("engine/accuracy.py", "engine/evaluate.py", "engine/explain/metrics/", "engine/explain/score.py"),
    "loaders and sampler": ("dataset/",),
    "figures": ("tools/figures/", "engine/explain/drawing.py", "torchcam_vis.py"),
}


def changed(patch):
    """The file that a patch changes, and how many lines."""
    lines = patch.read_text().splitlines()
    (file,) = [line.removeprefix("+++ b/") for line in lines if line.startswith("+++ ")]
    return file, sum(line.startswith("+") and not line.startswith("+++") for line in lines)


@pytest.mark.parametrize("name", mutants.patches())
def test_a_planted_fault_fits_the_code_and_names_a_test(name):
    patch = mutants.patches()[name]
    fits = mutants.planted(patch, ROOT, "--check")
    assert fits.returncode == 0, fits.stderr
    file, _, test = mutants.seen_by(patch).partition("::")
    assert f"def {test.partition('[')[0]}(" in (ROOT / file).read_text()
    assert changed(patch)[1] == 1


def test_there_are_twenty_planted_faults_and_five_of_each_area():
    files = [changed(patch)[0] for patch in mutants.patches().values()]
    counts = Counter(area for file in files for area, places in AREAS.items() if file.startswith(places))
    assert len(files) >= 20 and all(counts[area] >= 5 for area in AREAS), counts


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_planted_fault_is_seen():
    done = subprocess.run([sys.executable, "tests/mutants/run.py"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
