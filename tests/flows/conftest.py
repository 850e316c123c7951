"""A Prefect server of this test run's own, and a bucket with a few hundred easy frames."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from prefect.testing.utilities import prefect_test_harness

from tasks.ingest import ingest
from tasks.parameters import SplitParameters
from tasks.store import Store

PER_CLASS = 180
START_WEIGHTS = "weights/start.keras"


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A temporary Prefect server with a database of its own, stopped at the end."""
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def easy_frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of easy frames, as `easy_folder` makes them."""
    folder = tmp_path_factory.mktemp("easy")
    easy_folder(folder, PER_CLASS, seed=7)
    return folder


def easy_folder(folder: Path, per_class: int, *, seed: int, place: str = "") -> None:
    """Folders `person/`, `no_person/` with sessions of three: a bright disc is the person, a dark bar is not.

    `place` is part of the sessions' names, which must not come twice in a bucket.
    """
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:120, :160]
    for label in ("person", "no_person"):
        for number in range(per_class):
            pixels = random.normal(random.uniform(80, 150), 12, (120, 160))
            cy, cx, size = random.integers(35, 85), random.integers(40, 120), random.integers(16, 30)
            if label == "person":
                pixels[(y - cy) ** 2 + (x - cx) ** 2 < size**2] += 80
            else:
                pixels[(abs(y - cy) < size // 3) & (abs(x - cx) < 2 * size)] -= 70
            path = folder / label / f"{label}-{place}{number // 3:03d}" / f"{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def indexed(this_bucket: Store, easy_frames: Path, start_weights: bytes) -> Store:
    """The bucket with the easy frames imported and indexed."""
    from tasks.labelled_folder import labelled_folder
    from tasks.upload import upload

    sent = upload(this_bucket, labelled_folder(easy_frames, "easy-cam").files)
    assert sent.uploaded == 2 * PER_CLASS
    found = ingest(this_bucket, SplitParameters())
    assert found.new == 2 * PER_CLASS
    this_bucket.put(START_WEIGHTS, start_weights)
    return this_bucket


@pytest.fixture(scope="session")
def start_weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An untrained model as a .keras file: initial weights as users bring them, so that both phases run."""
    from tasks.model import build_model
    from tasks.parameters import TrainParameters

    path = tmp_path_factory.mktemp("weights") / "start.keras"
    build_model(TrainParameters(alpha=0.35, width=96, height=72, weights="none")).save(path)
    return path.read_bytes()
