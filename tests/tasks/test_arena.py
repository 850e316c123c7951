"""The tensor arena on this machine: TFLM's own figure, and the smallest that works, by bisection.

The target's figures are tested in tests/firmware/test_image.py.
"""

import random

import pytest

from tasks.arena import STEP, ArenaUnmeasured, bisect, host_arena
from tasks.flatbuffer import inspect
from tests.firmware.example_model import PATH


def test_bisection_finds_the_smallest_size_for_any_answer() -> None:
    draw = random.Random(1)
    for _ in range(300):
        needed, ample = draw.randrange(1, 50_000), 65_536
        floor = draw.randrange(0, needed + 1)
        found = bisect(lambda size, needed=needed: size >= needed, floor, ample)
        assert found == -(-needed // STEP) * STEP


def test_bisection_says_so_where_nothing_works() -> None:
    with pytest.raises(ArenaUnmeasured, match="65,536"):
        bisect(lambda size: False, 0, 65_536)


def test_the_host_needs_at_least_the_liveness_bound() -> None:
    model = PATH.read_bytes()
    bound = inspect(model).activation_peak_bytes
    found = host_arena(model, bound)
    assert bound < found.smallest <= found.used
    assert found.smallest % STEP == 0
    # A wrong bound of 0 finds the same: nothing below the true one works.
    assert host_arena(model, 16).smallest == found.smallest


def test_a_model_that_takes_tflm_down_is_a_named_error() -> None:
    with pytest.raises(ArenaUnmeasured, match="no arena figures"):
        host_arena(PATH.read_bytes()[:600], 16)
