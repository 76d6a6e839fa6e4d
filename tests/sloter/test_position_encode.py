import math

import pytest
import torch

from sloter.position_encode import sine_position_encoding


def test_agrees_with_the_published_code(golden):
    expected = torch.from_numpy(golden["pe/64_9_9"])
    torch.testing.assert_close(sine_position_encoding(9, 9, 64), expected, rtol=1e-5, atol=1e-6)


def test_by_hand_on_a_grid_that_is_not_square():
    code = sine_position_encoding(2, 3, 8)[0]  # (8, 2, 3): channels 0..3 rows, 4..7 columns
    row, column = 1, 0  # counted from 1: row 2 of 2, column 1 of 3
    y, x = 2 / 2 * 2 * math.pi, 1 / 3 * 2 * math.pi
    expected = [math.sin(y), math.cos(y), math.sin(y / 100), math.cos(y / 100)]
    expected += [math.sin(x), math.cos(x), math.sin(x / 100), math.cos(x / 100)]
    torch.testing.assert_close(code[:, row, column], torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_a_width_that_is_not_a_multiple_of_4_is_an_error():
    with pytest.raises(ValueError, match="divisible by 4, not 6"):
        sine_position_encoding(2, 2, 6)
