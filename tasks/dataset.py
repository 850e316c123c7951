"""A data set version: which frames of the index one training run uses, as a record and a Parquet manifest.

Pixels are never copied: the manifest names shard and row of every frame. A version is found again by the digest of
its rows and parameters, so the same frames give the same version and no work is done twice.
"""

import hashlib
import io
import logging
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from tasks import frame_index
from tasks.batches import FrameSet
from tasks.erased_blobs import Shards
from tasks.errors import PipelineError
from tasks.lineage import CLASSES, SPLITS, DatasetVersion, Frame, Label, Split, digest_of
from tasks.parameters import DatasetParameters
from tasks.progress import Progress, silent
from tasks.store import ObjectMissing, Store

COLUMNS = tuple(name for name in Frame.model_fields if name != "digest")
LATEST = "datasets/latest.json"
_log = logging.getLogger("f2f.dataset")


class DatasetRefused(PipelineError):
    """The index does not hold what a data set needs."""


class _Latest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    digest: str


def build_dataset(
    store: Store, parameters: DatasetParameters, *, index_rows: int = 0, progress: Progress = silent
) -> DatasetVersion:
    """The version that the index and `parameters` give; stored as `version.key` unless it is there already.

    `index_rows`: only the first rows of the index (0: all); the version is named by its frames, not by this number.
    Raises `IndexShorter`, and `DatasetRefused` for an empty index, an unknown device, a single class, a split or a
    class of a split without frames, a `max_frames` that no whole sessions fit in.
    """
    steps = 4
    index = frame_index.load(store, ["kind", *COLUMNS]).first(index_rows)
    progress(1, steps, "steps")
    frames, left_out = select(index.frames.select(COLUMNS), parameters)
    progress(2, steps, "steps")
    rows = digest_of(
        [list(row) for row in zip(*(frames[c].to_pylist() for c in ("pixels_sha256", "label", "split", "session")),
                                  strict=True)]
    )  # fmt: skip
    digest = DatasetVersion.digest_for(rows=rows, parameters=parameters)
    previous, etag = _latest(store)
    version = store.find_record(f"datasets/{digest}/dataset.json", DatasetVersion)
    if version is None:
        sink = io.BytesIO()
        pq.write_table(frames, sink, compression="zstd")
        manifest = store.put_blob(sink.getvalue())
        store.put(f"datasets/{digest}/manifest.parquet", sink.getvalue(), content_type="application/octet-stream")
        version = DatasetVersion(
            rows=rows,
            parameters=parameters,
            parent=previous.digest if previous else None,
            index_revision=index.head.revision,
            manifest=manifest,
            shards=tuple(sorted(pc.unique(frames["shard"]).to_pylist())),
            left_out=left_out,
            **_figures(frames, parameters),
        )
        # Two at once may have made it: the first one's parent is the one that counts.
        if not store.create(version.key, version.model_dump_json(indent=1).encode(), content_type="application/json"):
            version = store.get_record(version.key, DatasetVersion)
    progress(3, steps, "steps")
    while previous is None or previous.digest != version.digest:
        if store.swap(LATEST, _Latest(digest=version.digest).model_dump_json().encode(), etag):
            break
        previous, etag = _latest(store)
    progress(4, steps, "steps")
    _log.info("data set %s: %s", version.digest[:12], version.counts)
    return version


def find_dataset(store: Store, name: str) -> DatasetVersion | None:
    """The stored version whose digest begins with `name`, or the newest one for "latest"; None where there is none.

    Raises `DatasetRefused` where several begin like that.
    """
    if name == "latest":
        latest, _ = _latest(store)
        return store.get_record(f"datasets/{latest.digest}/dataset.json", DatasetVersion) if latest else None
    if not name or not set(name.lower()) <= set("0123456789abcdef"):
        return None
    found = list(store.list_folders(f"datasets/{name.lower()}"))
    if len(found) > 1:
        raise DatasetRefused(f"{len(found)} data sets begin with {name}", next_step="give more digits")
    return store.find_record(f"{found[0].rstrip('/')}/dataset.json", DatasetVersion) if found else None


def load_manifest(store: Store, version: DatasetVersion) -> pa.Table:
    """One row a frame, the columns of `Frame` without `digest`, sorted by pixels_sha256; also of erased frames."""
    return pq.read_table(store.blob_path(version.manifest))


def open_split(store: Store, version: DatasetVersion, split: Split) -> FrameSet:
    """The frames of one split, sorted by pixels_sha256; shards that are not cached yet are fetched.

    Frames that were erased since the version was made are left out.
    """
    table = load_manifest(store, version)
    table = table.filter(pc.equal(table["split"], split))
    shards = Shards(store)
    with ThreadPoolExecutor(8) as threads:
        named = pc.unique(table["shard"]).to_pylist()
        path_of = dict(zip(named, threads.map(shards.path, named), strict=True))
    kept = shards.there(table["shard"], table["row"].to_numpy())
    if not kept.all():
        gone = int((~kept).sum())
        _log.warning("data set %s: %d frames of split %s were erased since", version.digest[:12], gone, split)
        table = table.filter(pa.array(kept))
    names = table["shard"].combine_chunks().dictionary_encode()
    return FrameSet(
        shards=tuple(path_of[name] for name in names.dictionary.to_pylist()),
        shard=names.indices.to_numpy(zero_copy_only=False).astype(np.int32),
        row=table["row"].to_numpy().astype(np.int32),
        labels=pc.equal(table["label"], "person").to_numpy().astype(np.uint8),
        pixels_sha256=table["pixels_sha256"].to_pylist(),
        keys=table["key"].to_pylist(),
        devices=table["device"].to_pylist(),
        sessions=table["session"].to_pylist(),
    )


def select(frames: pa.Table, parameters: DatasetParameters) -> tuple[pa.Table, dict[str, int]]:
    """The frames of the data set, sorted by pixels_sha256, and how many were left out for which reason. Pure.

    First unlabelled frames go, then other devices, then sessions beyond `max_frames`, then, where asked for, frames of
    the larger class of each split. What goes is decided by hash and seed, so new frames change little of it.
    """
    left_out: dict[str, int] = {}
    every = frames.num_rows
    frames = _kept(frames, pc.is_valid(frames["label"]), left_out, "unlabelled")
    if not frames.num_rows:
        what = f"none of the {every:,} frames in the index has a label" if every else "the index is empty"
        raise DatasetRefused(
            f"no labelled frames: {what}",
            next_step="import labelled images: `f2f import DIR --device NAME`"
            + ("; or label those that are there" if every else ""),
        )
    if parameters.devices:
        devices = sorted(pc.unique(frames["device"]).to_pylist())
        unknown = sorted(set(parameters.devices) - set(devices))
        if unknown:
            raise DatasetRefused(
                f"no labelled frames of device {', '.join(map(repr, unknown))}",
                next_step=f"the index has {', '.join(devices[:20])}{' ...' if len(devices) > 20 else ''}",
            )
        wanted = pc.is_in(frames["device"], value_set=pa.array(parameters.devices, pa.string()))
        frames = _kept(frames, wanted, left_out, "other_device")
    frames = frames.sort_by("pixels_sha256")
    _check_classes(frames)
    if parameters.max_frames:
        frames = _kept(frames, _whole_sessions(frames, parameters), left_out, "over_max_frames")
    if parameters.balance == "undersample":
        frames = _kept(frames, _balanced(frames, parameters.seed), left_out, "larger_class")
    return frames, left_out


def _kept(frames: pa.Table, mask: pa.Array, left_out: dict[str, int], reason: str) -> pa.Table:
    kept = frames.filter(mask)
    if kept.num_rows < frames.num_rows:
        left_out[reason] = frames.num_rows - kept.num_rows
    return kept


def _groups(frames: pa.Table) -> list[tuple[Split, Label]]:
    return list(zip(frames["split"].to_pylist(), frames["label"].to_pylist(), strict=True))


def _check_classes(frames: pa.Table) -> None:
    counts = Counter(_groups(frames))
    labels = Counter(frames["label"].to_pylist())
    for label in CLASSES:
        if not labels[label]:
            only = next(name for name in CLASSES if labels[name])
            raise DatasetRefused(
                f"all {labels[only]:,} labelled frames are {only}, none is {label}: there is nothing to tell apart",
                next_step=f"import frames labelled {label}: `f2f import DIR --device NAME`",
            )
    for split in SPLITS:
        for label in CLASSES:
            if not counts[split, label]:
                empty = not any(counts[split, name] for name in CLASSES)
                raise DatasetRefused(
                    f"split {split} has no {'' if empty else label + ' '}frames; sessions are dealt as a whole and "
                    f"there are {len(set(frames['session'].to_pylist()))} of them",
                    next_step="import more sessions of each class (at least 3 of each), or import with splits that "
                    "have both classes in train, val and test",
                )


def _hashes(names: Sequence[str], seed: int) -> list[bytes]:
    return [hashlib.sha256(f"{seed}/{name}".encode()).digest() for name in names]


def _whole_sessions(frames: pa.Table, parameters: DatasetParameters) -> pa.Array:
    """Mask of sessions, in seeded order, as long as every (split, class) has room for all of their frames."""
    groups = _groups(frames)
    counts = Counter(groups)
    if parameters.balance == "undersample":  # what balancing would drop again takes no room
        counts = Counter({(s, c): min(counts[s, name] for name in CLASSES) for s in SPLITS for c in CLASSES})
    share = min(1.0, parameters.max_frames / sum(counts.values()))
    room = {group: int(count * share) for group, count in counts.items()}
    sessions: dict[str, Counter[tuple[Split, Label]]] = {}
    names = frames["session"].to_pylist()
    for name, group in zip(names, groups, strict=True):
        sessions.setdefault(name, Counter())[group] += 1
    taken: set[str] = set()
    held: Counter[tuple[Split, Label]] = Counter()
    order = dict(zip(sessions, _hashes(list(sessions), parameters.seed), strict=True))
    for name in sorted(sessions, key=order.__getitem__):
        if all(held[group] + n <= room[group] for group, n in sessions[name].items()):
            taken.add(name)
            held.update(sessions[name])
    empty = [f"{label} of {split}" for split, label in counts if not held[split, label]]
    if empty:
        raise DatasetRefused(
            f"max_frames={parameters.max_frames} leaves no room for a whole session in {', '.join(sorted(empty))}",
            next_step="raise max_frames (0 takes all frames)",
        )
    return pa.array([name in taken for name in names], pa.bool_())


def _balanced(frames: pa.Table, seed: int) -> pa.Array:
    """Mask that leaves as many frames of the larger class as of the smaller one, in every split."""
    groups = _groups(frames)
    counts = Counter(groups)
    hashes = _hashes(frames["pixels_sha256"].to_pylist(), seed)
    seen: Counter[tuple[Split, Label]] = Counter()
    kept = np.zeros(len(groups), bool)
    for at in sorted(range(len(groups)), key=hashes.__getitem__):
        split = groups[at][0]
        seen[groups[at]] += 1
        kept[at] = seen[groups[at]] <= min(counts[split, label] for label in CLASSES)
    return pa.array(kept)


def _figures(frames: pa.Table, parameters: DatasetParameters) -> dict[str, Any]:
    counts = Counter(_groups(frames))
    labels = frames["label"].to_pylist()
    devices: dict[str, dict[str, int]] = {}
    for device, label in zip(frames["device"].to_pylist(), labels, strict=True):
        devices.setdefault(device, dict.fromkeys(CLASSES, 0))[label] += 1
    sessions = set(zip(frames["split"].to_pylist(), frames["session"].to_pylist(), strict=True))
    train = {label: counts["train", label] for label in CLASSES}
    weighted = parameters.balance == "weights"
    return {
        "counts": {split: {label: counts[split, label] for label in CLASSES} for split in SPLITS},
        "sessions": {split: sum(of == split for of, _ in sessions) for split in SPLITS},
        "devices": dict(sorted(devices.items())),
        "class_weights": {c: sum(train.values()) / (2 * n) if weighted else 1.0 for c, n in train.items()},
    }


def _latest(store: Store) -> tuple[_Latest | None, str | None]:
    try:
        found = store.get_object(LATEST)
    except ObjectMissing:
        return None, None
    return _Latest.model_validate_json(found.data), found.etag
