"""The notebook docs/tour.ipynb: it runs, and the outputs that it keeps are those of a run.

``python -c 'from tests.test_tour import *; renew()'`` runs it and writes its outputs into it.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOUR = ROOT / "docs" / "tour.ipynb"
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
LARGEST = 600_000  # bytes
FOLDERS = re.compile(r"/(?:home|Users|tmp|root|work|usr|opt)/|[A-Z]:\\\\")  # of a machine


def executed():
    """The notebook after a fresh run; no output is of the progress on standard error."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(TOUR, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    NotebookClient(
        notebook, timeout=250, kernel_name="python3", record_timing=False, resources={"metadata": {"path": TOUR.parent}}
    ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            kept = [output for output in cell.outputs if output.get("name") != "stderr"]
            cell.outputs = [output for output in kept if output.get("text", "x").strip()]  # erased progress bars
    notebook.metadata.language_info = {"name": "python"}  # without the version
    return notebook


def renew() -> None:
    """Run the notebook and keep the outputs."""
    import nbformat

    nbformat.write(executed(), TOUR)


def texts(notebook) -> list[str]:
    """Text of each output, such as the printed lines or the repr of a result."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [output["text"] if output.output_type == "stream" else output["data"]["text/plain"] for output in outputs]


@pytest.fixture(scope="module")
def kept():
    nbformat = pytest.importorskip("nbformat", reason="the optional package nbformat is not installed")
    notebook = nbformat.read(TOUR, as_version=4)
    nbformat.validate(notebook)
    return notebook


def test_the_kept_outputs_are_those_of_a_run(kept):
    for package in ("nbclient", "ipykernel"):
        pytest.importorskip(package, reason=f"the optional package {package} is not installed")
    fresh = executed()  # raises if a cell fails
    before, after = texts(kept), texts(fresh)
    assert [NUMBER.sub("0", text) for text in before] == [NUMBER.sub("0", text) for text in after]
    for old, new in zip(before, after, strict=True):
        # machines round differently: by one in the last digit that is printed
        for one, other in zip(NUMBER.findall(old), NUMBER.findall(new), strict=True):
            step = 10.0 ** -len(one.partition(".")[2]) if "." in one else 0
            assert abs(float(one) - float(other)) <= 1.01 * step, (old, new)
    for old, new in zip(kept.cells, fresh.cells, strict=True):
        kinds = [[sorted(output.get("data", {})) for output in cell.get("outputs", ())] for cell in (old, new)]
        assert kinds[0] == kinds[1]  # the same figures


def test_every_cell_was_run_in_order_without_an_error(kept):
    cells = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells[1:]:  # the first only imports
        assert cell.outputs, cell.source
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name", "stdout") == "stdout"


def test_the_notebook_is_small_and_of_no_machine(kept):
    text = TOUR.read_text()
    assert len(text.encode()) < LARGEST
    visible = [cell.source for cell in kept.cells] + texts(kept) + [str(kept.metadata)]
    assert not FOLDERS.search("\n".join(visible))
    assert str(ROOT) not in text and str(Path.home()) not in text


def test_its_links_lead_somewhere(kept):
    found = re.findall(r"\]\(([\w./]+)(#[\w-]+)?\)", "\n".join(cell.source for cell in kept.cells))
    assert found
    for name, section in found:
        titles = re.findall(r"^#+ (.+)$", (TOUR.parent / name).read_text(), re.M)
        assert not section or section[1:] in [title.lower().replace(" ", "-") for title in titles]
