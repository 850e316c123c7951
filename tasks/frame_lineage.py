"""From a release to the frames behind it, and from a frame to the releases that it is in."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks import frame_index
from tasks.errors import PipelineError
from tasks.frame_digests import contains
from tasks.release_records import Release
from tasks.releases import releases
from tasks.store import Store

COLUMNS = ("pixels_sha256", "key", "label", "split")  # the key says arrival day, device and session


class NoSuchFrame(PipelineError):
    """A frame that nothing in the bucket knows."""


def frames_of(store: Store, release: Release) -> Iterator[pa.RecordBatch]:
    """Every frame behind a release, one row each with `COLUMNS`, in the order of pixels_sha256.

    In batches, and not as one table: `read_table` imports pandas, which takes longer than reading a million rows.
    """
    manifest = release.artefacts["manifest.parquet"]
    with pq.ParquetFile(store.cached(manifest.key, manifest.sha256), memory_map=True) as file:
        for batch in file.iter_batches(65_536, columns=list(COLUMNS)):
            yield batch.select(COLUMNS)


def releases_with(store: Store, digest: str) -> list[Release]:
    """The releases whose data set holds a frame, by the SHA-256 of its pixels or of its object's bytes.

    One small range request a release. Raises `NoSuchFrame` for no digest.
    """
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise NoSuchFrame(
            f"{digest!r} is no SHA-256 in hex", next_step="`sha256sum FILE` gives it; `f2f lineage 1` lists those there"
        )

    def holds(release: Release) -> bool:
        artefact = release.artefacts["frames.digests"]
        return contains(lambda start, stop: store.get_range(artefact.key, start, stop), artefact.size, digest)

    known = releases(store)
    with ThreadPoolExecutor(8) as threads:
        return [release for release, found in zip(known, threads.map(holds, known), strict=True) if found]


def pixels_of(store: Store, digest: str) -> str | None:
    """The pixels_sha256 behind an object's SHA-256, also of a duplicate; None where the index knows neither."""
    rows = frame_index.load(store, ["sha256", "pixels_sha256"]).rows
    at = pc.index(rows["sha256"], digest).as_py()
    if at >= 0:
        found = rows["pixels_sha256"][at].as_py()
        return str(found) if found else None
    return digest if pc.index(rows["pixels_sha256"], digest).as_py() >= 0 else None
