"""Lines about the results of a split."""

from engine.results import range_text


def test_the_range_of_the_accuracies_names_its_classes_unless_all_are_alike():
    assert range_text({"wren": 0.5, "gull": 0.25, "tern": 1.0}) == "25.00% (gull) to 100.00% (tern)"
    assert range_text({"wren": 1.0, "gull": 1.0}) == "100.00% of each"
