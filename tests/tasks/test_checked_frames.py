"""Frames as the checks see them: from a folder, from a stored data set, and the figures made of them."""

import hashlib
from pathlib import Path

import cv2
import numpy as np

from tasks.checked_frames import BLOCK, of_dataset, of_folder
from tasks.dataset import build_dataset
from tasks.ingest import ingest
from tasks.labelled_folder import labelled_folder
from tasks.parameters import DatasetParameters, SplitParameters
from tasks.store import Store
from tasks.upload import upload
from tests.tasks.checkable import checkable, scenes


def _folder(folder: Path, count: int) -> Path:
    for number, pixels in enumerate(scenes(count)):
        path = folder / ("no_person", "person")[number % 2] / f"s{number // 4}" / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), pixels)
    return folder


def test_a_folder_gives_its_frames_with_sessions_and_names_what_is_no_frame(tmp_path: Path) -> None:
    folder = _folder(tmp_path, 24)
    (folder / "person" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with of_folder(labelled_folder(folder, "cam")) as frames:
        assert len(frames) == 24
        assert frames.column("key")[0] == "no_person/s0/000.png"
        assert set(frames.column("split")) == {None}
        assert len(set(frames.column("session"))) == 6
        picked = frames.gather(np.array([5, 0]))
        digests = [hashlib.sha256(pixels.tobytes()).hexdigest() for pixels in picked]
        assert digests == [frames.column("pixels_sha256")[number] for number in (5, 0)]
    assert [(file.name, file.reason) for file in frames.refused] == [("person/broken.png", "truncated")]


def test_an_empty_folder_of_frames_is_no_special_case(tmp_path: Path) -> None:
    (tmp_path / "person").mkdir()
    (tmp_path / "person" / "x.png").write_bytes(b"no picture")
    with of_folder(labelled_folder(tmp_path, "cam")) as frames:
        assert len(frames) == 0
        assert frames.thumbnails.shape == (0, 30, 40)
        assert frames.figures.contrast.shape == (0,)


def test_a_stored_data_set_gives_the_frames_that_its_manifest_names(store: Store, tmp_path: Path) -> None:
    upload(store, labelled_folder(_folder(tmp_path, 48), "cam").files)
    ingest(store, SplitParameters())
    version = build_dataset(store, DatasetParameters())
    frames = of_dataset(store, version)
    assert len(frames) == sum(sum(split.values()) for split in version.counts.values())
    found = [hashlib.sha256(pixels.tobytes()).hexdigest() for pixels in frames.gather(np.arange(len(frames)))]
    assert found == frames.column("pixels_sha256")
    assert set(frames.column("split")) == {"train", "val", "test"}


def test_figures_are_what_their_names_say_over_block_borders() -> None:
    pixels = np.repeat(scenes(8), BLOCK // 8 + 1, 0)
    pixels[-1] = 0
    pixels[-2] = 255
    frames = checkable(pixels)
    seen = frames.figures
    assert np.allclose(seen.brightness, pixels.mean((1, 2)), atol=1e-3)
    assert np.allclose(seen.contrast, pixels.std((1, 2)), atol=1e-3)
    assert (seen.dark[-1], seen.bright[-2], seen.sharpness[-1]) == (1.0, 1.0, 0.0)
    assert np.array_equal(frames.thumbnails[-1], np.zeros((30, 40)))
    assert np.abs(frames.thumbnails[0] - pixels[0].reshape(30, 4, 40, 4).mean((1, 3))).max() <= 1
