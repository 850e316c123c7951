"""Lineage at a million frames: `f2f lineage`, as a user starts it, against a scan of the manifest with pyarrow.

    .venv/bin/python -m benchmarks.lineage [--frames 1000000] [--releases 20]

Makes a bucket on a local S3 server in a temporary folder with RELEASES releases, each with its own data set of FRAMES
frames (digests as random as real ones, no pixels), then times whole processes: the first time (manifest not cached)
and again. The peer finds a frame by reading the digest column of every manifest. Takes about three minutes.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from deployments import versitygw, versitygw_install
from tasks.parameters import PromoteParameters
from tasks.promotion import promote
from tasks.record import digest_of
from tasks.releases import load_release
from tasks.settings import PROJECT, Settings
from tasks.signing import make_keys
from tasks.store import Store
from tests.conftest import free_port
from tests.tasks.published import stored_candidate


def main() -> None:
    """Prints one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--releases", type=int, default=20)
    wanted = parser.parse_args()
    program = versitygw_install.install(PROJECT / ".f2f", print)
    with tempfile.TemporaryDirectory() as scratch:
        folder, port = Path(scratch), free_port()
        server = versitygw.start(folder / "s3", port=port, access_key="a", secret_key="b" * 16, program=program)
        try:
            versitygw.wait_healthy(port, server)
            os.environ.update(
                AWS_ACCESS_KEY_ID="a",
                AWS_SECRET_ACCESS_KEY="b" * 16,
                F2F_ENDPOINT_URL=f"http://127.0.0.1:{port}",
                F2F_BUCKET="lineage",
                F2F_DATA_DIR=str(folder / "f2f"),
            )
            _measure(Store(Settings(_env_file=None)), wanted.frames, wanted.releases)
        finally:
            server.terminate()
            server.wait(20)


def _measure(store: Store, frames: int, count: int) -> None:
    store.create_bucket()
    make_keys(store.where)
    for number in range(count):
        # Each data set is a little larger than the one before, as they are in a fleet.
        candidate = stored_candidate(store, f"v{number}", rows=frames - (count - 1 - number) * 1000)
        assert promote(store, candidate, PromoteParameters(dry_run=False)).outcome == "released"
    first = digest_of(("pixels", 5))
    newest = digest_of(("pixels", frames - 1))
    by_object = hashlib.sha256(f"object of {first}".encode()).hexdigest()
    for name, digest, expected in (("in all", first, count), ("in one", newest, 1), ("by its file", by_object, count)):
        seconds, output = _timed("lineage", "--frame", digest)
        assert output.count(b"release ") == expected, output
        print(f"f2f lineage --frame ({name}, {count} releases of {frames:,} frames): {seconds:.2f} s")
    for name in ("first time", "again"):
        seconds, output = _timed("lineage", str(count))
        assert output.count(b"\n") == frames + 1
        print(f"f2f lineage {count} ({frames:,} lines of CSV, {len(output) / 1e6:.0f} MB), {name}: {seconds:.2f} s")
    manifests = [load_release(store, n + 1).artefacts["manifest.parquet"].sha256 for n in range(count)]
    paths = [store.blob_path(one) for one in manifests]
    started = time.perf_counter()
    found = [pc.index(pq.read_table(path, columns=["pixels_sha256"])[0], newest).as_py() >= 0 for path in paths]
    assert sum(found) == 1
    print(f"peer, pyarrow over the cached manifests, without start-up: {time.perf_counter() - started:.2f} s")


def _timed(*arguments: str) -> tuple[float, bytes]:
    with tempfile.TemporaryFile() as output:  # as a shell's `>`
        started = time.perf_counter()
        subprocess.run([Path(sys.executable).with_name("f2f"), *arguments], stdout=output, check=True)
        seconds = time.perf_counter() - started
        output.seek(0)
        return seconds, output.read()


if __name__ == "__main__":
    main()
