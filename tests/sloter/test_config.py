"""The options of the slot head survive every way that they are stored and given."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from args import expand_runs, parse_args, slot_options
from sloter import ModelError
from sloter.config import OPTIONS, SlotConfig, complete_config, options_of, slot_config
from sloter.slot_attention import NORMALISERS, VALUE_WEIGHTINGS, SlotAttention
from sloter.slot_model import build_model
from tools.original_checkpoint import upgrade


def values_of(field):
    """A strategy for the valid values of an option."""
    rules = field.metadata["rules"]
    if field.metadata["choices"]:
        return st.sampled_from(field.metadata["choices"])
    if field.type is int:
        step = rules.get("multiple_of", 1)
        return st.integers(-(-int(rules["low"]) // step), int(rules["high"]) // step).map(lambda n: n * step)
    low, high = rules.get("low", rules.get("above")), rules.get("high", rules.get("below"))
    return st.floats(low, high, exclude_min="above" in rules, exclude_max="below" in rules)


CONFIGS = st.fixed_dictionaries({field.name: values_of(field) for field in options_of(SlotConfig)})
QUICK = settings(deadline=None, max_examples=60, derandomize=True, database=None)


@QUICK
@given(CONFIGS)
def test_a_configuration_is_the_same_after_a_checkpoint(values):
    config = SlotConfig(**values)
    stored, _ = upgrade({"backbone": "x", **dataclasses.asdict(config)}, {})
    assert slot_config({name: stored[name] for name in OPTIONS}) == config
    assert complete_config(stored) == stored


@QUICK
@given(CONFIGS)
def test_a_configuration_is_the_same_after_its_flags(values):
    words = [
        word
        for field in options_of(SlotConfig)
        for word in (f"--{field.metadata['flag'] or field.name}", repr(values[field.name]).strip("'"))
    ]
    (run,) = expand_runs(parse_args(words))
    assert slot_config(slot_options(run)) == SlotConfig(**values)


def test_the_choices_are_those_of_the_registries():
    choices = {field.name: set(field.metadata["choices"]) for field in options_of(SlotConfig)}
    assert choices["attention"] == set(NORMALISERS) and choices["value_weighting"] == set(VALUE_WEIGHTINGS)


def test_missing_options_are_the_published_form():
    config = complete_config({"backbone": "x", "use_slot": True, "hidden_dim": 8})
    assert config["loss_status"] == 1 and config["attention"] == "paper" and config["hidden_dim"] == 8
    assert complete_config({"backbone": "x", "use_slot": False}) == {"backbone": "x", "use_slot": False}


def test_an_unknown_option_is_an_error_that_names_the_valid_ones():
    with pytest.raises(ModelError, match="unknown option 'foo' of the slot head: choose one of hidden_dim"):
        SlotAttention(3, 2, 16, foo=1)
    with pytest.raises(ModelError, match=r"unknown keyword 'img_sise' .* img_size.* hidden_dim"):
        build_model(backbone="test_resnet", num_classes=2, img_sise=(32, 32))


@pytest.mark.parametrize(("sign", "initial"), [(1, 128), (-1, 256)])
def test_the_learned_value_of_places_starts_larger_in_a_negative_model(sign, initial):
    slots = SlotAttention(3, 1, 8, value_weighting="equal", loss_status=sign, iters=1)
    assert slots.value_weighting.log_gamma.exp().item() == pytest.approx(initial)
