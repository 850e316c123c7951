"""Reading frames from shards: order, speed, file handles. Shards are written here; no bucket."""

import pickle
import time
from pathlib import Path

import numpy as np
import pytest

from tasks.batches import FrameSet, resized


def frame_set(folder: Path, shards: int, frames: int) -> FrameSet:
    """Frames whose every pixel tells their number (modulo 251), scattered over shards."""
    rng = np.random.default_rng(1)
    paths = []
    for number in range(shards):
        paths.append(folder / f"{number}.npy")
        values = (np.arange(frames) + number * frames) % 251
        np.save(paths[-1], np.broadcast_to(values.astype(np.uint8)[:, None, None], (frames, 120, 160)))
    order = rng.permutation(shards * frames)
    return FrameSet(
        shards=tuple(paths),
        shard=(order // frames).astype(np.int32),
        row=(order % frames).astype(np.int32),
        labels=(order % 2).astype(np.uint8),
        pixels_sha256=[str(n) for n in order],
        keys=[f"k{n}" for n in order],
        devices=["cam"] * len(order),
        sessions=["s"] * len(order),
    )


def test_gather_gives_the_frames_asked_for_in_the_order_asked_for(tmp_path: Path) -> None:
    frames = frame_set(tmp_path, 3, 20)
    wanted = np.array([59, 0, 7, 7, 31])
    pixels = frames.gather(wanted)
    assert pixels.shape == (5, 120, 160)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels[:, 60, 80], [int(frames.pixels_sha256[i]) % 251 for i in wanted])
    np.testing.assert_array_equal(frames.gather()[wanted], pixels)


def test_gather_of_nothing_is_an_empty_batch(tmp_path: Path) -> None:
    assert frame_set(tmp_path, 2, 3).gather(np.array([], int)).shape == (0, 120, 160)


def test_what_is_gathered_may_be_written_to(tmp_path: Path) -> None:
    frames = frame_set(tmp_path, 1, 3)
    batch = frames.gather(np.array([0]))
    before = int(batch[0, 0, 0])
    batch[:] = 255
    assert frames.gather(np.array([0]))[0, 0, 0] == before


def test_taken_frames_are_the_same_frames(tmp_path: Path) -> None:
    frames = frame_set(tmp_path, 3, 10)
    indices = np.array([20, 3, 11])
    taken = frames.take(indices)
    np.testing.assert_array_equal(taken.gather(), frames.gather(indices))
    assert taken.keys == [frames.keys[i] for i in indices]
    assert len(taken) == 3


def test_a_frame_set_travels_to_another_process_without_its_pixels(tmp_path: Path) -> None:
    frames = frame_set(tmp_path, 3, 50)
    packed = pickle.dumps(frames)
    assert len(packed) < 20_000
    np.testing.assert_array_equal(pickle.loads(packed).gather(), frames.gather())


def test_thousands_of_small_shards_need_few_file_handles(tmp_path: Path) -> None:
    frames = frame_set(tmp_path, 1500, 1)
    before = len(list(Path("/proc/self/fd").iterdir()))
    pixels = frames.gather()
    np.testing.assert_array_equal(pixels[:, 0, 0], [int(name) % 251 for name in frames.pixels_sha256])
    assert len(list(Path("/proc/self/fd").iterdir())) - before < 300


def test_shuffled_batches_come_close_to_arrays_in_memory(tmp_path: Path) -> None:
    """Batches of 32 frames, shuffled over 6 shards, against fancy indexing of one array: at most 8 times as long.

    Both are far above what a trainer eats; the bound keeps a per-shard scan or a copy of whole shards from creeping in.
    """
    frames = frame_set(tmp_path, 6, 300)
    array = frames.gather()
    batches = np.array_split(np.random.default_rng(2).permutation(len(frames)), len(frames) // 32)

    def seconds(read: object) -> float:
        best = np.inf
        for _ in range(5):
            start = time.perf_counter()
            for batch in batches:
                read(batch)  # type: ignore[operator]
            best = min(best, time.perf_counter() - start)
        return float(best)

    assert seconds(frames.gather) < 8 * seconds(lambda batch: array[batch])


@pytest.mark.parametrize(("height", "width"), [(120, 160), (72, 96)])
def test_frames_are_resized_to_a_models_input(tmp_path: Path, height: int, width: int) -> None:
    pixels = frame_set(tmp_path, 1, 4).gather()
    small = resized(pixels, height, width)
    assert small.shape == (4, height, width)
    np.testing.assert_array_equal(small[:, 0, 0], pixels[:, 0, 0])
