import pytest
import timm

from studies.backbones import HEADER, PAGE, attempt, model_of, row, rows_of_page

ROWS = rows_of_page()


def test_the_table_has_every_module_of_timm_once():
    assert list(ROWS) == timm.list_modules()
    assert HEADER in PAGE.read_text()
    assert all(timm.list_models(model_of(line), module=module) for module, line in ROWS.items())


def test_what_is_refused_has_its_reason():
    for line in ROWS.values():
        cells = [cell.strip() for cell in line.split("|")[4:-1]]
        assert bool({"no", "-"} & set(cells[:-1])) == bool(cells[-1]), line


@pytest.mark.parametrize(
    "module", ["convnext", "vision_transformer", "xcit", "pit", "levit", "efficientvit_msra", "metaformer"]
)
def test_a_row_says_what_happens(module):
    assert row(module, model_of(ROWS[module])) == ROWS[module]


def test_an_attempt_fails_if_a_parameter_has_no_gradient(monkeypatch):
    monkeypatch.setattr("sloter.backbone.freeze_unused", lambda *args: None)
    with pytest.raises(AssertionError, match="ghostnet_050: no gradient of backbone"):
        attempt("ghostnet_050", (64, 64))


@pytest.mark.slow
@pytest.mark.parametrize("module", ROWS)
def test_every_row_says_what_happens(module):
    assert row(module, model_of(ROWS[module])) == ROWS[module]
