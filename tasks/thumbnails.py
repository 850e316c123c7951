"""Scores of a report's frames, which of them went wrong, and their pictures for a page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.erased_blobs import Shards
from tasks.lineage import Report
from tasks.store import Store


@dataclass(frozen=True)
class Scores:
    """One entry a test frame. `labels`: bool, person; `fp32`, `int8`: scores 0..1; `shard`, `row`: its pixels."""

    labels: NDArray[np.bool_]
    fp32: NDArray[np.float64]
    int8: NDArray[np.float64]
    pixels_sha256: Sequence[str]
    keys: Sequence[str]
    devices: Sequence[str]
    sessions: Sequence[str]
    shard: Sequence[str]
    row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Thumbnail:
    """A frame as it is shown: `picture` is a data: URI."""

    picture: str
    pixels_sha256: str
    key: str
    device: str
    session: str
    label: str
    fp32: float
    int8: float


def load_scores(store: Store, report: Report) -> Scores:
    """The scores behind a report, but those of frames that were erased. Raises `ObjectMissing`, `DigestMismatch`."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    table = parquet.read_table(store.blob_path(report.scores))
    kept = Shards(store).there(table["shard"], table["row"].to_numpy())
    columns = table.filter(pa.array(kept)).to_pydict()
    labels = np.array([label in ("person", 1) for label in columns["label"]], bool)
    return Scores(
        labels,
        np.array(columns["fp32_score"], np.float64),
        np.array(columns["int8_score"], np.float64),
        columns["pixels_sha256"],
        columns["key"],
        columns["device"],
        columns["session"],
        columns["shard"],
        np.array(columns["row"], np.int64),
    )


def worst_mistakes(scores: Scores, threshold: float, *, limit: int) -> list[int]:
    """Frames that INT8 has wrong, the most confident mistake first; frames with equal pixels once."""
    wrong = np.flatnonzero((scores.int8 >= threshold) != scores.labels)
    order = wrong[np.argsort(-np.abs(scores.int8[wrong] - threshold), kind="stable")]
    return _distinct(scores, order, limit)


def disagreements(scores: Scores, threshold: float, *, limit: int) -> list[int]:
    """Frames on which FP32 and INT8 fall on different sides of the threshold, the largest difference first."""
    differ = np.flatnonzero((scores.int8 >= threshold) != (scores.fp32 >= threshold))
    order = differ[np.argsort(-np.abs(scores.int8[differ] - scores.fp32[differ]), kind="stable")]
    return _distinct(scores, order, limit)


def _distinct(scores: Scores, order: NDArray[np.intp], limit: int) -> list[int]:
    first: dict[str, int] = {}
    for index in order.tolist():
        first.setdefault(scores.pixels_sha256[index], index)
    return list(first.values())[:limit]


def thumbnails(store: Store, scores: Scores, indices: Sequence[int]) -> list[Thumbnail]:
    """The pictures of these frames, in their order; none of those erased since the scores were loaded.

    Raises `ObjectMissing`, `DigestMismatch`.
    """
    where = Shards(store)
    shards = {
        digest: np.load(where.path(digest), mmap_mode="r") for digest in {scores.shard[index] for index in indices}
    }
    kept = where.there([scores.shard[index] for index in indices], scores.row[list(indices)])
    return [
        Thumbnail(
            data_uri(shards[scores.shard[index]][scores.row[index]]),
            scores.pixels_sha256[index],
            scores.keys[index],
            scores.devices[index],
            scores.sessions[index],
            "person" if scores.labels[index] else "no_person",
            float(scores.fp32[index]),
            float(scores.int8[index]),
        )
        for index, there in zip(indices, kept, strict=True)
        if there
    ]


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """A gray frame, uint8 (height, width), as a data: URI of a JPEG (about 5 KB at 160 x 120)."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
