"""Frames at a model's input size, against exact fractions, against OpenCV, and the vectors that the device is held to.

`python -m tests.tasks.test_resize` writes tests/golden/resize_vectors.json anew. Nothing here runs the device's code.
"""

import hashlib
import json
from fractions import Fraction
from itertools import product
from math import floor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tasks import batches
from tasks.resize import resized

VECTORS = Path(__file__).parents[1] / "golden" / "resize_vectors.json"
WIDTHS, HEIGHTS = (32, 64, 96, 128, 160), (24, 48, 72, 96, 120)
ODD_SIZES = [  # source width, source height, target width, target height
    (7, 5, 3, 2),
    (5, 7, 4, 6),
    (11, 3, 10, 2),
    (3, 2, 7, 5),
    (4, 6, 9, 6),
    (1, 1, 3, 2),
    (6, 4, 1, 1),
    (9, 4, 6, 7),
    (13, 13, 5, 13),
]


def exact(frame: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The mean over the area that a target pixel covers, halves up, in fractions and from the definition alone."""
    rows, columns = frame.shape

    def shares(target: int, targets: int, sources: int) -> list[Fraction]:
        low, high = Fraction(target * sources, targets), Fraction((target + 1) * sources, targets)
        covered = [max(Fraction(0), min(high, Fraction(i + 1)) - max(low, Fraction(i))) for i in range(sources)]
        return [length / (high - low) for length in covered]

    down = [shares(y, height, rows) for y in range(height)]
    across = [shares(x, width, columns) for x in range(width)]
    values = [[int(value) for value in row] for row in frame]
    found = np.empty((height, width), np.uint8)
    for y, x in product(range(height), range(width)):
        mean = sum(
            (down[y][i] * across[x][j] * values[i][j] for i, j in product(range(rows), range(columns))), Fraction(0)
        )
        found[y, x] = floor(mean + Fraction(1, 2))
    return found


def repeated(frame: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The same by another way that is fast enough for whole frames: each pixel repeated until blocks come out even."""
    rows, columns = frame.shape
    down = frame.astype(np.int64).repeat(height, axis=0).reshape(height, rows, columns).sum(axis=1)
    sums = down.repeat(width, axis=1).reshape(height, width, columns).sum(axis=2)
    return ((2 * sums + rows * columns) // (2 * rows * columns)).astype(np.uint8)


def frames(count: int, height: int = 120, width: int = 160, *, seed: int = 0) -> NDArray[np.uint8]:
    """Noise, blurred noise as of a picture, ramps, and black and white in turn."""
    rng = np.random.default_rng(seed)
    made = rng.integers(0, 256, (count, height, width)).astype(np.uint8)
    y, x = np.mgrid[:height, :width]
    for number in range(count):
        if number % 4 == 1:
            blurred = cv2.GaussianBlur(made[number].astype(np.float32), (0, 0), 4)
            made[number] = np.clip((blurred - blurred.mean()) * 12 + 120, 0, 255)
        elif number % 4 == 2:
            made[number] = (x * (number + 1) // 3 + y * 2) % 256
        elif number % 4 == 3:
            made[number] = np.where(made[number] > 127, 255, 0)
    return made


def opencv(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in pixels])


def formula_frame() -> NDArray[np.uint8]:
    y, x = np.mgrid[:120, :160]
    return ((x * 7 + y * 13 + (x * y) // 3) % 256).astype(np.uint8)


def vectors() -> dict[str, Any]:
    """What tests/golden/resize_vectors.json holds: results from the definition, not from the function under test."""
    rng = np.random.default_rng(4)
    small: list[tuple[str, NDArray[np.uint8], int, int]] = [
        ("same size", np.array([[0, 1, 127], [128, 254, 255]], np.uint8), 3, 2),
        ("halves round up: 0.5, 1.5, 2.5", np.array([[0, 1, 1, 2, 2, 3]], np.uint8), 3, 1),
        ("a quarter rounds down", np.array([[0, 0], [0, 1]], np.uint8), 1, 1),
        ("two quarters round up", np.array([[0, 1], [0, 1]], np.uint8), 1, 1),
        ("black stays black", np.zeros((5, 5), np.uint8), 3, 3),
        ("white stays white", np.full((5, 5), 255, np.uint8), 3, 3),
        ("five to three, as 160 to 96", np.array([[0, 255, 0, 255, 0]], np.uint8), 3, 1),
        ("enlarged to twice the size", np.array([[10, 20]], np.uint8), 4, 2),
    ]
    for columns, rows, width, height in ODD_SIZES[:5]:
        small.append(("noise", rng.integers(0, 256, (rows, columns)).astype(np.uint8), width, height))
    sizes = [(96, 72), (64, 48), (32, 24), (128, 96), (96, 96), (100, 75), (97, 71), (160, 48), (192, 144)]
    return {
        "rule": "area filter; value = floor((2 * sum + D) / (2 * D)); bytes row by row; see tasks/resize.py",
        "cases": [
            {
                "name": name,
                "source_width": source.shape[1],
                "source_height": source.shape[0],
                "target_width": width,
                "target_height": height,
                "source": source.tobytes().hex(),
                "result": exact(source, height, width).tobytes().hex(),
            }
            for name, source, width, height in small
        ],
        "formula_cases": [
            {
                "name": f"160x120 to {width}x{height}",
                "source_width": 160,
                "source_height": 120,
                "target_width": width,
                "target_height": height,
                "source_formula": "pixel = (x*7 + y*13 + (x*y)//3) % 256",
                "result_sha256": hashlib.sha256(result.tobytes()).hexdigest(),
                "result_first_16": result.tobytes()[:16].hex(),
            }
            for width, height in sizes
            for result in [repeated(formula_frame(), height, width)]
        ],
    }


def test_the_golden_vectors_are_what_the_definition_gives() -> None:
    assert json.loads(VECTORS.read_text()) == vectors()


def test_every_golden_vector_is_reproduced() -> None:
    for case in json.loads(VECTORS.read_text())["cases"]:
        source = np.frombuffer(bytes.fromhex(case["source"]), np.uint8)
        source = source.reshape(1, case["source_height"], case["source_width"])
        result = resized(source, case["target_height"], case["target_width"])
        assert result.tobytes().hex() == case["result"], case["name"]
    for case in json.loads(VECTORS.read_text())["formula_cases"]:
        result = resized(formula_frame()[None], case["target_height"], case["target_width"])
        assert hashlib.sha256(result.tobytes()).hexdigest() == case["result_sha256"], case["name"]
        assert result.tobytes()[:16].hex() == case["result_first_16"]


@pytest.mark.parametrize(("width", "height"), [(96, 72), (32, 24), (97, 71), (96, 96), (224, 224), (7, 200)])
def test_whole_frames_are_exact(width: int, height: int) -> None:
    pixels = frames(4)
    expected = np.stack([repeated(frame, height, width) for frame in pixels])
    np.testing.assert_array_equal(resized(pixels, height, width), expected)


@pytest.mark.parametrize(("columns", "rows", "width", "height"), ODD_SIZES)
def test_any_size_is_exact(columns: int, rows: int, width: int, height: int) -> None:
    pixels = frames(8, rows, columns, seed=rows)
    expected = np.stack([exact(frame, height, width) for frame in pixels])
    np.testing.assert_array_equal(resized(pixels, height, width), expected)
    np.testing.assert_array_equal(np.stack([repeated(frame, height, width) for frame in pixels]), expected)


@pytest.mark.parametrize("height", HEIGHTS)
@pytest.mark.parametrize("width", WIDTHS)
def test_at_this_projects_model_sizes_opencv_gives_the_same_bytes(width: int, height: int) -> None:
    pixels = frames(12)
    np.testing.assert_array_equal(resized(pixels, height, width), opencv(pixels, height, width))


@pytest.mark.parametrize(("width", "height"), [(80, 60), (96, 96), (97, 71), (150, 113), (40, 90), (159, 119), (1, 1)])
def test_at_other_smaller_sizes_opencv_is_one_level_off_at_most(width: int, height: int) -> None:
    pixels = frames(12)
    different = resized(pixels, height, width).astype(int) - opencv(pixels, height, width)
    assert np.abs(different).max() <= 1


def test_opencv_sees_the_same_real_frames(shared: Path) -> None:
    from tasks.frames import decode

    paths = [shared / "fixtures" / "frames" / name for name in ("ok_device.jpg", "ok_rgb_640x480.jpg", "ok_gray.png")]
    pixels = np.stack([decode(path.read_bytes(), path.name).pixels for path in paths])
    for width, height in product(WIDTHS, HEIGHTS):
        np.testing.assert_array_equal(resized(pixels, height, width), opencv(pixels, height, width))


@pytest.mark.parametrize(("width", "height"), [(96, 72), (97, 71), (224, 224), (320, 240), (4096, 3)])
def test_flat_frames_stay_flat_at_every_size(width: int, height: int) -> None:
    pixels = np.broadcast_to(np.array([0, 1, 127, 254, 255], np.uint8)[:, None, None], (5, 120, 160))
    result = resized(pixels, height, width)
    assert result.shape == (5, height, width)
    np.testing.assert_array_equal(result, np.broadcast_to(pixels[:, :1, :1], result.shape))


@pytest.mark.parametrize(("columns", "rows"), [(4095, 17), (4096, 4095)])
def test_sums_beyond_16_and_32_bits_do_not_overflow(columns: int, rows: int) -> None:
    """White at sizes without a common divisor: D is 69,615, and 16,773,120, whose 511-fold needs 33 bits."""
    white = np.full((1, rows, columns), 255, np.uint8)
    assert np.all(resized(white, 2 if rows % 2 else 1, 1 if columns % 2 else 7) == 255)


def test_enlarging_to_a_multiple_repeats_pixels() -> None:
    pixels = frames(2)
    np.testing.assert_array_equal(resized(pixels, 240, 320), pixels.repeat(2, axis=1).repeat(2, axis=2))


def test_each_frame_is_resized_by_itself() -> None:
    """More frames than are taken at once, and a view with gaps, give what single frames give."""
    pixels = frames(150)[::2]
    alone = np.concatenate([resized(frame[None].copy(), 72, 96) for frame in pixels])
    np.testing.assert_array_equal(resized(pixels, 72, 96), alone)
    assert resized(pixels[:0], 72, 96).shape == (0, 72, 96)


def test_frames_of_the_models_size_are_not_touched() -> None:
    pixels = frames(2)
    assert resized(pixels, 120, 160) is pixels


@pytest.mark.parametrize(
    ("pixels", "height", "width"),
    [
        (np.zeros((1, 120, 160), np.float32), 72, 96),
        (np.zeros((120, 160), np.uint8), 72, 96),
        (np.zeros((1, 120, 160), np.uint8), 0, 96),
        (np.zeros((1, 0, 160), np.uint8), 72, 96),
    ],
)
def test_what_is_no_stack_of_frames_is_refused(pixels: NDArray[Any], height: int, width: int) -> None:
    with pytest.raises(ValueError, match="cannot resize"):
        resized(pixels, height, width)


def test_training_calibration_and_evaluation_resize_with_this_function() -> None:
    from tasks import kernels, quantize, training_data

    assert batches.resized is resized
    assert kernels.resized is resized
    assert quantize.resized is resized
    assert training_data.resized is resized


if __name__ == "__main__":
    VECTORS.parent.mkdir(exist_ok=True)
    VECTORS.write_text(json.dumps(vectors(), indent=2) + "\n")
