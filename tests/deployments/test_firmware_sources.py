"""How source trees come to the data folder: from a server of the test's own, from archives and from clones.

The trees are small and their pins are computed here; that the real pins belong to the real repositories cannot be seen
without them and is not tested. Touches neither GitHub nor Prefect nor S3.
"""

import dataclasses
import io
import json
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from deployments.commands import firmware_sources as firmware_sources_command
from deployments.firmware_sources import (
    STAMP,
    SourceChanged,
    SourceRefused,
    SourceUnreachable,
    digest,
    ensure,
    listing,
    sources_folder,
)
from deployments.source_pins import ESP, UPSTREAM, Source
from tasks.settings import PROJECT, settings
from tests.conftest import free_port

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"kernels/add.cc": b"int add(int a, int b) { return a + b; }\n", "kernels/large.cc": b"// noise\n" * 5_000}


def add(tar: tarfile.TarFile, name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = "") -> None:
    member = tarfile.TarInfo(name)
    member.type, member.size, member.linkname = kind, len(data), target
    tar.addfile(member, io.BytesIO(data))


def archive(files: dict[str, bytes] | None = None, top: str = f"tree-{COMMIT}/", level: int = 9) -> bytes:
    """A .tar.gz such as GitHub serves: one folder at the top, a link among the files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=level) as tar:
        for name, data in (FILES if files is None else files).items():
            add(tar, top + name, data)
        add(tar, f"{top}include", kind=tarfile.SYMTYPE, target="kernels")
    return buffer.getvalue()


def hostile(**member: object) -> bytes:
    """The good tree and one more member."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in FILES.items():
            add(tar, f"tree/{name}", data)
        add(tar, **member)  # type: ignore[arg-type]
    return buffer.getvalue()


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """The pin of `archive()`, computed from a tree that nothing under test unpacked."""
    tree = tmp_path / "by-hand"
    for name, data in FILES.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(data)
    (tree / "include").symlink_to("kernels")
    return Source("someone/Kernels", COMMIT, digest(listing(tree)), sum(map(len, FILES.values())))


class Handler(BaseHTTPRequestHandler):
    data: bytes
    asked: list[str]
    stop_after: int | None
    pause: threading.Event | None

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.data)))
        self.end_headers()
        first = len(self.data) // 2 if self.stop_after is None else self.stop_after
        self.wfile.write(self.data[:first])
        self.wfile.flush()
        if self.pause:
            self.pause.wait(30)
        if self.stop_after is None:
            self.wfile.write(self.data[first:])

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def github(
    data: bytes, stop_after: int | None = None, pause: threading.Event | None = None
) -> Iterator[tuple[str, list[str]]]:
    """A base URL below which everything is `data`, and the paths asked for so far."""
    asked: list[str] = []
    values = {"data": data, "asked": asked, "stop_after": stop_after, "pause": pause}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), values))
    server.daemon_threads = True
    threading.Thread(target=partial(server.serve_forever, 0.05), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        if pause:
            pause.set()
        server.shutdown()
        server.server_close()


def nothing(text: str) -> None:
    """Says nothing."""


def contents(data_dir: Path) -> list[str]:
    """What lies in the folder of trees."""
    return sorted(path.name for path in sources_folder(data_dir).iterdir())


def test_a_tree_is_fetched_by_commit_verified_and_unpacked(source: Source, tmp_path: Path) -> None:
    said: list[str] = []
    with github(archive()) as (url, asked):
        places = ensure([source], tmp_path, said.append, base_url=url)
    tree = places["kernels"]
    assert tree == sources_folder(tmp_path) / "kernels"
    assert asked == [f"/someone/Kernels/tar.gz/{COMMIT}"]
    assert {name: (tree / name).read_bytes() for name in FILES} == FILES
    assert (tree / "include").readlink() == Path("kernels")
    stamp = json.loads((tree / STAMP).read_text())
    assert (stamp["commit"], stamp["sha256"]) == (COMMIT, source.sha256)
    assert contents(tmp_path) == [".lock", "kernels"]
    assert any("fetching" in line for line in said)
    assert any("verified" in line for line in said)


def test_another_compression_of_the_same_tree_is_the_same_tree(source: Source, tmp_path: Path) -> None:
    other = archive(dict(reversed(FILES.items())), top="elsewhere/", level=1)
    assert other != archive()
    with github(other) as (url, _):
        assert ensure([source], tmp_path, nothing, base_url=url)["kernels"].is_dir()


def test_what_is_there_costs_no_request_and_no_word(source: Source, tmp_path: Path) -> None:
    said: list[str] = []
    with github(archive()) as (url, asked):
        ensure([source], tmp_path, nothing, base_url=url)
        before = (sources_folder(tmp_path) / "kernels").stat().st_mtime_ns
        ensure([source], tmp_path, said.append, base_url=url)
    assert len(asked) == 1
    assert said == []
    assert (sources_folder(tmp_path) / "kernels").stat().st_mtime_ns == before


def test_a_tree_of_an_earlier_pin_is_replaced(source: Source, tmp_path: Path) -> None:
    with github(archive()) as (url, _):
        ensure([source], tmp_path, nothing, base_url=url)
    newer = {**FILES, "kernels/add.cc": b"int add;\n"}
    with github(archive(newer)) as (url, _):
        with pytest.raises(SourceRefused) as refused:
            ensure([dataclasses.replace(source, sha256="0" * 64)], tmp_path, nothing, base_url=url)
        kept = (sources_folder(tmp_path) / "kernels" / "kernels/add.cc").read_bytes()
        assert kept == FILES["kernels/add.cc"], "the earlier tree stays until the newer one is verified"
        found = str(refused.value).split("have the SHA-256 ")[1][:64]
        tree = ensure([dataclasses.replace(source, sha256=found)], tmp_path, nothing, base_url=url)["kernels"]
    assert (tree / "kernels/add.cc").read_bytes() == b"int add;\n"
    assert contents(tmp_path) == [".lock", "kernels"]


def test_one_flipped_byte_is_refused_by_name_and_nothing_is_left(source: Source, tmp_path: Path) -> None:
    data = FILES["kernels/add.cc"]
    flipped = {**FILES, "kernels/add.cc": bytes([data[0] ^ 1]) + data[1:]}
    with github(archive(flipped)) as (url, _), pytest.raises(SourceRefused) as refused:
        ensure([source], tmp_path, nothing, base_url=url)
    assert "kernels: REFUSED" in refused.value.message
    assert source.sha256 in refused.value.message
    assert "--from" in refused.value.next_step
    assert contents(tmp_path) == [".lock"]


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ({"name": "tree/../../evil.cc", "data": b"x"}, "tree/../../evil.cc would lie outside"),
        ({"name": "/tmp/evil.cc", "data": b"x"}, "/tmp/evil.cc would lie outside"),
        ({"name": "tree/up", "kind": tarfile.SYMTYPE, "target": "../../up"}, "tree/up would lie outside"),
        ({"name": "tree/abs", "kind": tarfile.SYMTYPE, "target": "/etc/passwd"}, "tree/abs would lie outside"),
        ({"name": "tree/hard", "kind": tarfile.LNKTYPE, "target": "tree/kernels/add.cc"}, "no file, folder or link"),
        ({"name": "tree/pipe", "kind": tarfile.FIFOTYPE}, "no file, folder or link"),
        ({"name": "tree/kernels/add.cc", "data": b""}, "cannot be unpacked"),
        ({"name": "tree/bomb", "data": bytes(100_000)}, "more than the"),
    ],
    ids=["parent", "absolute", "link-up", "link-absolute", "hard-link", "fifo", "twice", "bomb"],
)
def test_an_archive_that_reaches_outside_or_is_no_plain_tree_is_refused(
    source: Source, tmp_path: Path, member: dict[str, object], reason: str
) -> None:
    with github(hostile(**member)) as (url, _), pytest.raises(SourceRefused, match=reason):
        ensure([source], tmp_path / "a" / "b", nothing, base_url=url)
    assert contents(tmp_path / "a" / "b") == [".lock"]
    assert not list(tmp_path.rglob("evil.cc"))


def test_no_file_is_written_through_a_link(source: Source, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        add(tar, "tree/kernels/add.cc", b"good")
        add(tar, "tree/way", kind=tarfile.SYMTYPE, target="kernels")
        add(tar, "tree/way/add.cc", b"evil")
    with github(buffer.getvalue()) as (url, _), pytest.raises(SourceRefused):
        ensure([source], tmp_path, nothing, base_url=url)
    assert contents(tmp_path) == [".lock"]


def test_a_download_that_breaks_off_leaves_nothing_and_says_how_far_it_came(source: Source, tmp_path: Path) -> None:
    with github(archive(), stop_after=200) as (url, _), pytest.raises(SourceUnreachable) as broken:
        ensure([source], tmp_path, nothing, base_url=url)
    assert "broke off after 200 bytes" in broken.value.message
    assert contents(tmp_path) == [".lock"]


def test_an_archive_that_ends_early_is_refused(source: Source, tmp_path: Path) -> None:
    with github(archive()[:200]) as (url, _), pytest.raises(SourceRefused, match="cannot be unpacked whole"):
        ensure([source], tmp_path, nothing, base_url=url)
    assert contents(tmp_path) == [".lock"]


def test_a_download_without_end_is_stopped(source: Source, tmp_path: Path) -> None:
    with github(bytes(3_000_000)) as (url, _), pytest.raises(SourceRefused, match="larger than the tree"):
        ensure([source], tmp_path, nothing, base_url=url)
    assert contents(tmp_path) == [".lock"]


def test_a_host_that_is_gone_is_named_with_the_alternatives(source: Source, tmp_path: Path) -> None:
    with pytest.raises(SourceUnreachable) as gone:
        ensure([source], tmp_path, nothing, base_url=f"http://127.0.0.1:{free_port()}")
    assert "127.0.0.1 cannot be reached" in gone.value.message
    for alternative in ("--from DIR", "TFLM_DIR", "tfmicro"):
        assert alternative in gone.value.next_step
    assert contents(tmp_path) == [".lock"]


def test_two_runs_at_once_fetch_once(source: Source, tmp_path: Path) -> None:
    with github(archive()) as (url, asked):
        threads = [
            threading.Thread(target=ensure, args=([source], tmp_path, nothing), kwargs={"base_url": url})
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(asked) == 1


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL])
def test_an_ended_download_leaves_no_half_tree_and_the_next_run_finishes(
    source: Source, tmp_path: Path, kind: signal.Signals
) -> None:
    code = (
        "import sys; from pathlib import Path; from deployments.firmware_sources import *;"
        "from deployments.source_pins import Source;"
        "ensure([Source(*sys.argv[1:4], int(sys.argv[4]))], Path(sys.argv[5]), print, base_url=sys.argv[6])"
    )
    with github(archive(), pause=threading.Event()) as (url, asked):
        pin = [source.repository, source.commit, source.sha256, str(source.size)]
        line = [sys.executable, "-c", code, *pin, str(tmp_path), url]
        process = subprocess.Popen(line, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        limit = time.monotonic() + 60
        while not (asked and list(tmp_path.glob("firmware/sources/.staging-*/archive"))) and time.monotonic() < limit:
            time.sleep(0.02)
        assert asked, "it was ended before it fetched anything: this proved nothing"
        process.send_signal(kind)
        process.wait()
    assert "kernels" not in contents(tmp_path)
    if kind is signal.SIGINT:
        assert contents(tmp_path) == [".lock"]
    with github(archive()) as (url, _):
        ensure([source], tmp_path, nothing, base_url=url)
    assert contents(tmp_path) == [".lock", "kernels"]


@pytest.mark.parametrize("brought", ["archive", "tree", "folder of them", "clone", "bare clone"])
def test_what_the_user_brings_is_taken_without_network(tmp_path: Path, source: Source, brought: str) -> None:
    by_hand, place = tmp_path / "by-hand", tmp_path / "brought"
    place.mkdir()
    nobody = f"http://127.0.0.1:{free_port()}"
    if brought in ("archive", "folder of them"):
        (place / f"Kernels-{COMMIT}.tar.gz").write_bytes(archive())
        (place / "unrelated.txt").write_text("of no interest")
    elif brought == "tree":
        by_hand.rename(place / "kernels")
    else:
        git = ["git", "-C", str(by_hand), "-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run([*git, "init", "-q"], check=True)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-qm", "all"], check=True)
        commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
        source = dataclasses.replace(source, commit=commit)
        (by_hand / "kernels/add.cc").write_text("somebody works on it")
        (by_hand / "kernels/add.o").write_text("and compiles it")
        how = ["--bare"] if brought == "bare clone" else []
        name = "kernels.git" if brought == "bare clone" else "kernels"
        subprocess.run(["git", "clone", "-q", *how, by_hand, place / name], check=True)
        if brought == "clone":
            (place / name / "kernels/add.o").write_text("left by a build")
    given = place if brought == "folder of them" else next(p for p in place.iterdir() if p.name != "unrelated.txt")
    tree = ensure([source], tmp_path / "f2f", nothing, brought=[given], base_url=nobody)["kernels"]
    assert digest(listing(tree)) == source.sha256
    assert not (tree / ".git").exists()


def test_what_the_user_brings_is_verified_too(source: Source, tmp_path: Path) -> None:
    (tmp_path / "kernels.tar.gz").write_bytes(archive({**FILES, "kernels/more.cc": b""}))
    with pytest.raises(SourceRefused, match=r"REFUSED .*kernels\.tar\.gz"):
        ensure([source], tmp_path / "f2f", nothing, brought=[tmp_path / "kernels.tar.gz"])
    assert contents(tmp_path / "f2f") == [".lock"]


def test_what_the_user_does_not_bring_is_named_and_the_rest_is_kept(source: Source, tmp_path: Path) -> None:
    other = dataclasses.replace(source, repository="someone/else-nn")
    (tmp_path / "kernels.tar.gz").write_bytes(archive())
    with pytest.raises(SourceUnreachable) as absent:
        ensure([other, source], tmp_path / "f2f", nothing, brought=[tmp_path])
    assert "nothing there is named after else-nn" in absent.value.message
    assert f"github.com/someone/else-nn at {COMMIT}" in absent.value.next_step
    assert contents(tmp_path / "f2f") == [".lock", "kernels"]


def test_two_things_of_one_name_are_not_guessed_at(source: Source, tmp_path: Path) -> None:
    for name in ("kernels.tar.gz", "kernels-main.tgz"):
        (tmp_path / name).write_bytes(archive())
    with pytest.raises(SourceRefused, match="could be any of"):
        ensure([source], tmp_path / "f2f", nothing, brought=[tmp_path])


def test_a_clone_without_the_commit_says_how_to_get_it(source: Source, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path / "kernels"], check=True)
    with pytest.raises(SourceRefused, match=f"git cannot give commit {COMMIT}") as refused:
        ensure([source], tmp_path / "f2f", nothing, brought=[tmp_path / "kernels"])
    assert f"fetch https://github.com/someone/Kernels {COMMIT}" in refused.value.next_step


def test_verify_names_the_files_that_changed(source: Source, tmp_path: Path) -> None:
    with github(archive()) as (url, _):
        tree = ensure([source], tmp_path, nothing, base_url=url)["kernels"]
        said: list[str] = []
        ensure([source], tmp_path, said.append, verify=True, base_url=url)
        assert any("3 files as pinned" in line for line in said)
        (tree / "kernels/add.cc").write_text("changed")
        (tree / "kernels/new.cc").write_text("added")
        ensure([source], tmp_path, nothing, base_url=url)  # does not look
        with pytest.raises(SourceChanged, match=r"missing: kernels/add\.cc, kernels/new\.cc"):
            ensure([source], tmp_path, nothing, verify=True, base_url=url)


def test_a_folder_that_somebody_else_made_is_not_touched(source: Source, tmp_path: Path) -> None:
    own = sources_folder(tmp_path) / "kernels"
    own.mkdir(parents=True)
    (own / "mine.cc").write_text("mine")
    with github(archive()) as (url, asked), pytest.raises(SourceChanged, match="not put there by this command"):
        ensure([source], tmp_path, nothing, base_url=url)
    assert asked == []
    assert (own / "mine.cc").read_text() == "mine"


def test_an_executable_bit_does_not_change_the_digest_and_a_link_target_does(source: Source, tmp_path: Path) -> None:
    tree = tmp_path / "by-hand"
    (tree / "kernels/add.cc").chmod(0o755)
    assert digest(listing(tree)) == source.sha256
    (tree / "include").unlink()
    (tree / "include").symlink_to("kernels/add.cc")
    assert digest(listing(tree)) != source.sha256


def test_every_pin_is_a_whole_commit_and_digest_and_the_names_are_those_that_the_build_looks_for() -> None:
    for source in UPSTREAM + ESP:
        assert len(bytes.fromhex(source.commit)) == 20
        assert len(bytes.fromhex(source.sha256)) == 32
    assert [s.name for s in UPSTREAM] == ["tflite-micro", "cmsis-nn", "gemmlowp", "ruy", "flatbuffers"]
    assert [s.name for s in ESP] == ["esp-tflite-micro", "esp-nn"]


@pytest.fixture
def small_pins(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The command with small trees as pins; a folder with their archives."""
    monkeypatch.setenv("F2F_DATA_DIR", str(tmp_path / "data dir"))
    settings.cache_clear()
    for name in ("UPSTREAM", "ESP"):
        pins = [dataclasses.replace(source, repository=s.repository) for s in (UPSTREAM if name == "UPSTREAM" else ESP)]
        monkeypatch.setattr(firmware_sources_command, name, pins)
    place = tmp_path / "archives"
    place.mkdir()
    for pin in UPSTREAM + ESP:
        (place / f"{pin.name}.tar.gz").write_bytes(archive())
    yield place
    settings.cache_clear()


def test_the_command_prints_lines_for_a_shell(small_pins: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(firmware_sources_command.command, ["--from", str(small_pins)])
    assert result.exit_code == 0, result.output
    script = f'{result.stdout}printf "%s:%s" "$TFLM_DIR" "$CMSIS_NN_DIR"'
    answer = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    folder = sources_folder(tmp_path / "data dir")
    assert answer == f"{folder}/tflite-micro:{folder}/cmsis-nn"
    assert "verified" in result.stderr
    assert not (folder / "esp-nn").exists()


def test_the_command_prints_one_json_object(small_pins: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(firmware_sources_command.command, ["--esp", "--json", "--from", str(small_pins)])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    folder = sources_folder(tmp_path / "data dir")
    assert answer["environment"] == {"TFLM_DIR": str(folder / "esp-tflite-micro"), "CMSIS_NN_DIR": ""}
    assert [tree["name"] for tree in answer["sources"]] == ["esp-tflite-micro", "esp-nn"]
    assert all(Path(tree["path"]).is_dir() for tree in answer["sources"])
