"""Ingest: frames/s against a plain loop in the same run, the second look, peak memory, an index of a million rows.

    python benchmarks/ingest.py [--frames N] [--rows 1000000] [--json]

A real S3 server (versitygw) on 127.0.0.1 with its data in a temporary folder. The frames are the batch `seed` of
../shared/data where that is there, else generated JPEGs; the upload is plain puts in threads. The peer is what one
would write first: list, get, decode, one by one. Every figure is measured in this run.
"""

import argparse
import csv
import io
import json
import multiprocessing
import os
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deployments import versitygw
from tasks import frame_index, inbox
from tasks.dataset import build_dataset, open_split
from tasks.frames import decode
from tasks.ingest import COLUMNS, ingest
from tasks.parameters import DatasetParameters, SplitParameters
from tasks.settings import PROJECT, Settings
from tasks.store import Store

Source = tuple[str, bytes, str]  # key, bytes, label


def real_frames(count: int) -> Iterator[Source]:
    """Frames of the batch `seed`, spread over it."""
    data = PROJECT.parent / "shared" / "data"
    with (data / "manifest.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["batch"] == "seed"]
    for row in rows[:: max(1, len(rows) // count)][:count]:
        key = f"frames/2026-11-20/{row['device']}/{row['session']}/{Path(row['file']).name}"
        yield key, (data / row["file"]).read_bytes(), row["label"]


def generated_frames(count: int) -> Iterator[Source]:
    """Smooth noise as 160 x 120 JPEGs of about the size of real ones."""
    rng = np.random.default_rng(0)
    for at in range(count):
        noise = Image.fromarray(rng.integers(0, 256, (120, 160), np.uint8)).filter(ImageFilter.GaussianBlur(2))
        sink = io.BytesIO()
        noise.point(lambda gray: max(0, min(255, (gray - 128) * 5 + 128))).save(sink, "JPEG", quality=85)
        session = at // 5
        yield (
            f"frames/2026-11-20/cam{at % 3}/s{session}/{at}.jpg",
            sink.getvalue(),
            ("person", "no_person")[session % 2],
        )


def timed_ingest(where: Settings, answer: "multiprocessing.Queue[dict[str, float]]") -> None:
    """One ingest in a fresh process, with its own peak memory (the workers' peaks added as if they were at once)."""
    start = time.perf_counter()
    summary = ingest(Store(where), SplitParameters())
    seconds = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    own, workers = (used.ru_maxrss for used in usage)
    count = min(len(os.sched_getaffinity(0)), 8) if summary.new >= inbox.PROCESSES_FROM else 0
    answer.put(
        {
            "seconds": seconds,
            "cpu_seconds": sum(used.ru_utime + used.ru_stime for used in usage),  # imports included
            "indexed": summary.indexed,
            "new": summary.new,
            "mib": (own + count * workers) / 1024,
        }
    )


def in_a_fresh_process(where: Settings) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    answer: multiprocessing.Queue[dict[str, float]] = context.Queue()
    process = context.Process(target=timed_ingest, args=(where, answer))
    process.start()
    found = answer.get(timeout=1800)
    process.join()
    return found


def plain_loop(store: Store) -> float:
    """The peer: list, get, decode, one by one; returns seconds."""
    start = time.perf_counter()
    for info in store.list("frames/"):
        decode(store.get(info.key), info.key)
    return time.perf_counter() - start


def large_index(where: Settings, rows: int) -> dict[str, float]:
    """An index of `rows` made-up frames: how long reading it takes, and one ingest of ten new frames."""
    store = Store(where)
    store.create_bucket()
    rng = np.random.default_rng(0)
    for start in range(0, rows, 100_000):
        hashes = [row.tobytes().hex() for row in rng.integers(0, 256, (min(100_000, rows - start), 32), np.uint8)]
        table = frame_index.table_of(
            [
                {"kind": "frame", "key": f"frames/2026-11-19/cam{at % 9}/s{(start + at) // 12}/{name[:16]}.jpg",
                 "sha256": name, "pixels_sha256": name[::-1], "device": f"cam{at % 9}",
                 "session": f"s{(start + at) // 12}", "label": ("person", "no_person")[at % 2],
                 "label_source": "metadata", "split": ("train", "train", "val", "test")[(start + at) // 12 % 4],
                 "split_source": "assigned", "brightness": 120.0, "contrast": 40.0, "shard": hashes[at // 2048],
                 "row": at % 2048}
                for at, name in enumerate(hashes)
            ]
        )  # fmt: skip
        frame_index.publish(store, lambda index, table=table: table, columns=["kind"])
    frame_index.load(store)  # fills the cache
    figures: dict[str, float] = {"rows": rows}
    for name, columns in (("all_columns", None), ("ingest_columns", COLUMNS)):
        start_at = time.perf_counter()
        frame_index.load(store, columns).frames  # noqa: B018 - labels are resolved on first use
        figures[f"load_{name}_seconds"] = time.perf_counter() - start_at
    for key, data, label in generated_frames(10):
        store.put(key, data, metadata={"label": label})
    figures["ingest_of_10_seconds"] = in_a_fresh_process(where)["seconds"]
    return figures


def measure(frames: int, rows: int, endpoint: str, folder: Path) -> dict[str, object]:
    credentials = folder / "credentials"
    credentials.write_text("[benchmark]\naws_access_key_id = benchmark\naws_secret_access_key = benchmark-secret\n")
    where = Settings(
        _env_file=None, endpoint_url=endpoint, bucket="frames", profile="benchmark", credentials_file=credentials,
        data_dir=folder / "f2f",
    )  # fmt: skip
    store = Store(where)
    store.create_bucket()
    real = (PROJECT.parent / "shared" / "data").is_dir()
    source = real_frames(frames or 12_791) if real else generated_frames(frames or 3_000)
    start = time.perf_counter()
    with ThreadPoolExecutor(4) as threads:
        count = sum(threads.map(lambda one: store.put(one[0], one[1], metadata={"label": one[2]}) or 1, source))
    upload = time.perf_counter() - start
    first = in_a_fresh_process(where)
    busy = time.process_time()
    peer = plain_loop(store)
    busy = time.process_time() - busy
    second = in_a_fresh_process(where)
    assert (first["indexed"], second["new"]) == (count, 0)
    version = build_dataset(store, DatasetParameters(balance="none"))
    train = open_split(store, version, "train")
    batches = np.array_split(np.random.default_rng(0).permutation(len(train)), max(1, len(train) // 32))
    start = time.perf_counter()
    for batch in batches:
        train.gather(batch)
    gather = time.perf_counter() - start
    return {
        "frames": f"{count} {'real' if real else 'generated'}",
        "upload_frames_per_s": count / upload,
        "ingest_frames_per_s": count / first["seconds"],
        "plain_loop_frames_per_s": count / peer,
        "ingest_against_plain_loop": peer / first["seconds"],
        "ingest_cpu_ms_a_frame": 1000 * first["cpu_seconds"] / count,
        "plain_loop_cpu_ms_a_frame": 1000 * busy / count,
        "upload_and_ingest_frames_per_s": count / (upload + first["seconds"]),
        "second_ingest_seconds": second["seconds"],
        "second_ingest_cpu_seconds": second["cpu_seconds"],
        "ingest_peak_mib": first["mib"],
        "gather_shuffled_batches_of_32_frames_per_s": len(train) / gather,
        "load_average": os.getloadavg()[0],
        **(large_index(where.model_copy(update={"bucket": "large"}), rows) if rows else {}),
    }


def main() -> None:
    """Starts the server, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=0, help="frames to upload (0: all of seed, or 3,000 generated)")
    parser.add_argument("--rows", type=int, default=0, help="rows of the large index (0: leave it out)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        server = versitygw.start(Path(name) / "s3", port=port, access_key="benchmark", secret_key="benchmark-secret")
        try:
            versitygw.wait_healthy(port, server)
            figures = measure(options.frames, options.rows, f"http://127.0.0.1:{port}", Path(name))
        finally:
            server.terminate()
            server.wait(10)
    if options.json:
        print(json.dumps(figures))
    else:
        for what, figure in figures.items():
            print(f"{what:45} {figure:,.2f}" if isinstance(figure, float) else f"{what:45} {figure}")


if __name__ == "__main__":
    main()
