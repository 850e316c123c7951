"""A small data set that meets every expectation, for tests to break: real shards in a real bucket."""

import hashlib
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from expectations.checkpoint import validate
from tasks.lineage import DatasetVersion, ValidationOutcome, digest_of
from tasks.parameters import DatasetParameters, ValidationParameters
from tasks.store import Store

LIMITS = ValidationParameters(min_frames_train=24, min_frames_val=8, min_frames_test=8)
SPLITS = ("train",) * 8 + ("val",) * 3 + ("test",) * 3  # of sessions, four frames each, both classes in each


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Made:
    """A data set under construction: change `rows` (the manifest), then `judge`."""

    def __init__(self, store: Store) -> None:
        self.store = store
        pixels = np.random.default_rng(0).integers(20, 220, (4 * len(SPLITS), 120, 160), dtype=np.uint8)
        shard = self.shard(pixels)
        start = datetime(2026, 3, 1, tzinfo=UTC)
        self.rows: list[dict[str, Any]] = [
            {
                "sha256": sha256(b"file" + frame.tobytes()),
                "pixels_sha256": sha256(frame.tobytes()),
                "key": f"frames/2026-03-01/cam-{number % 2}/s{number // 4:02}/{number:03}.png",
                "device": f"cam-{number // 4 % 2}",
                "session": f"s{number // 4:02}",
                "captured_at": start + timedelta(seconds=number) if number % 3 else None,
                "label": ("no_person", "person")[number % 2],
                "label_source": "metadata",
                "split": SPLITS[number // 4],
                "split_source": "assigned",
                "brightness": float(frame.mean()),
                "contrast": float(frame.std()),
                "shard": shard,
                "row": number,
            }
            for number, frame in enumerate(pixels)
        ]

    def shard(self, pixels: NDArray[Any]) -> str:
        """Packs pixels as a shard in the bucket; returns its SHA-256."""
        buffer = io.BytesIO()
        np.save(buffer, pixels)
        return self.store.put_blob(buffer.getvalue())

    def of(self, split: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["split"] == split]

    def version(self, *, extra: int = 0) -> DatasetVersion:
        """The record that goes with the rows as they are now; `extra`: train frames that it counts beside them."""
        counts = {"train": {"no_person": len(self.rows) + extra, "person": 0}}
        return DatasetVersion(
            rows=digest_of([list(map(str, row.values())) for row in self.rows] + [extra]),
            parameters=DatasetParameters(),
            parent=None,
            index_revision=1,
            manifest="0" * 64,
            shards=(),
            counts=counts,  # type: ignore[arg-type]
            sessions={"train": 1},
            devices={},
            left_out={},
            class_weights={},
        )

    def judge(
        self,
        limits: ValidationParameters = LIMITS,
        *,
        version: DatasetVersion | None = None,
        change: Callable[[pa.Table], pa.Table] = lambda table: table,
        **more: Any,
    ) -> ValidationOutcome:
        """Runs the real checkpoint over the rows; `change` is applied to the Arrow table."""
        table = change(pa.Table.from_pylist(self.rows))
        return validate(self.store, version or self.version(), table, limits, **more)


@pytest.fixture
def made(store: Store) -> Made:
    """A data set of 56 frames that is fit for training."""
    return Made(store)
