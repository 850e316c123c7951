"""Fetches the source trees that firmware can be built from (TFLM, its dependencies, kernels), each at a pinned commit.

What is pinned is the content of a tree, not the bytes of its archive: GitHub promises the first and not the second.
A tree is complete and verified or absent: it is staged in a folder of its own and moved into place under a lock.
"""

import hashlib
import http.client
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from deployments.processes import Say, locked
from deployments.source_pins import Source
from tasks.errors import PipelineError

GITHUB = "https://codeload.github.com"
STAMP = ".f2f-source.json"  # in every tree: commit, digest, and the digest of each file
ARCHIVE_ENDINGS = (".tar.gz", ".tgz", ".tar", ".git")


class SourceUnreachable(PipelineError):
    """A tree could not be downloaded, or is not among what the user brought."""


class SourceRefused(PipelineError):
    """What was fetched or brought is not the pinned tree."""


class SourceChanged(PipelineError):
    """A tree in the data folder is not what was put there."""


def sources_folder(data_dir: Path) -> Path:
    """Where the trees lie, fetched or not."""
    return data_dir.absolute() / "firmware" / "sources"


def environment(data_dir: Path, *, esp: bool = False) -> dict[str, str]:
    """What to set so that firmware is built from these trees. An empty value counts as not set."""
    folder = sources_folder(data_dir)
    if esp:  # finds esp-nn beside itself; Arm's kernels are for Arm
        return {"TFLM_DIR": str(folder / "esp-tflite-micro"), "CMSIS_NN_DIR": ""}
    return {"TFLM_DIR": str(folder / "tflite-micro"), "CMSIS_NN_DIR": str(folder / "cmsis-nn")}


def listing(tree: Path) -> dict[str, str]:
    """SHA-256 of every file's bytes, "-> target" of every symbolic link, by path inside `tree`; modes do not count."""
    found: dict[str, str] = {}
    for folder, folders, files in os.walk(tree):
        for name in files + folders:
            path = Path(folder, name)
            inside = path.relative_to(tree).as_posix()
            if path.is_symlink():
                found[inside] = f"-> {path.readlink()}"
            elif path.is_file() and inside != STAMP:
                with path.open("rb") as file:
                    found[inside] = hashlib.file_digest(file, "sha256").hexdigest()
    return dict(sorted(found.items()))


def digest(files: dict[str, str]) -> str:
    """SHA-256 over a listing."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def ensure(
    sources: Sequence[Source],
    data_dir: Path,
    say: Say,
    *,
    brought: Sequence[Path] = (),
    verify: bool = False,
    base_url: str = GITHUB,
    timeout: float = 30,
) -> dict[str, Path]:
    """Every tree of `sources` in the data folder, by name; what is there costs nothing unless `verify` hashes it anew.

    With `brought` (checkouts, archives, or folders of such) nothing is downloaded. Raises `SourceUnreachable`,
    `SourceRefused` or `SourceChanged`; trees that were finished before stay.
    """
    folder = sources_folder(data_dir)
    places = {source.name: folder / source.name for source in sources}
    if not verify and all(_stamp(places[source.name]).get("sha256") == source.sha256 for source in sources):
        return places
    absent = []
    with locked(folder / ".lock", say, "f2f firmware sources"):
        for left in folder.glob(".staging-*"):  # of a killed run: nobody else is at it now
            shutil.rmtree(left, ignore_errors=True)
        for source in sources:
            place = places[source.name]
            stamp = _stamp(place)
            if place.exists() and not stamp:
                raise SourceChanged(
                    f"{place} was not put there by this command", next_step="move it away, then run it again"
                )
            if stamp.get("sha256") == source.sha256:
                if verify:
                    _verify(source, place, stamp, say)
                continue
            origin = _brought(source, brought)
            if brought and origin is None:
                absent.append(source)
                continue
            with tempfile.TemporaryDirectory(prefix=".staging-", dir=folder) as staging:
                started = time.monotonic()
                tree = _unpacked(source, origin, Path(staging), say, base_url, timeout)
                _stamped(source, tree, str(origin or f"the archive from {base_url}"))
                if place.exists():  # an earlier pin of ours
                    place.rename(Path(staging) / "old")
                tree.rename(place)
                say(
                    f"{source.name}: {source.repository} {source.commit[:12]} verified, in {place} "
                    f"({time.monotonic() - started:.0f} s)"
                )
    if absent:
        raise SourceUnreachable(
            f"{', '.join(map(str, brought))}: nothing there is named after {', '.join(s.name for s in absent)}",
            next_step="expected are NAME/ (a clone or an unpacked archive), NAME.tar.gz or NAME-<anything>.tar.gz, of "
            + ", ".join(f"github.com/{s.repository} at {s.commit}" for s in absent),
        )
    return places


def _stamp(place: Path) -> dict[str, object]:
    try:
        found = json.loads((place / STAMP).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _verify(source: Source, place: Path, stamp: dict[str, object], say: Say) -> None:
    """Raises `SourceChanged` with the files that are not as they were."""
    now = listing(place)
    if digest(now) == source.sha256:
        say(f"{source.name}: {source.commit[:12]}, {len(now):,} files as pinned")
        return
    kept = stamp.get("files")
    before = kept if isinstance(kept, dict) else {}
    changed = sorted(path for path in now.keys() | before.keys() if now.get(path) != before.get(path))
    shown = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
    raise SourceChanged(
        f"{place} is no longer {source.repository} at {source.commit[:12]}: changed, added or missing: {shown}",
        next_step=f"rm -r {place}, then run the same command again",
    )


def _stamped(source: Source, tree: Path, origin: str) -> None:
    """Checks `tree` against the pin and writes its stamp. Raises `SourceRefused`."""
    files = listing(tree)
    found = digest(files)
    if found != source.sha256:
        raise SourceRefused(
            f"{source.name}: REFUSED {origin}: its {len(files):,} files have the SHA-256 {found}, those of "
            f"{source.repository} at {source.commit} have {source.sha256}",
            next_step="nothing of it is kept; run it again, and if it is the same then, somebody serves another tree: "
            f"bring a checkout of github.com/{source.repository} with --from DIR",
        )
    about = {"repository": source.repository, "commit": source.commit, "sha256": found, "files": files}
    (tree / STAMP).write_text(json.dumps(about, indent=0))


def _brought(source: Source, places: Sequence[Path]) -> Path | None:
    """The one checkout or archive among `places`, or directly in them, that is named after `source`."""
    found = []
    for place in places:
        if not place.exists():
            raise SourceUnreachable(f"--from {place}: there is no such file or folder")
        named = [place] if _named(place, source) else list(place.iterdir()) if place.is_dir() else []
        found += [entry for entry in named if _named(entry, source)]
    if len(found) > 1:
        raise SourceRefused(f"{source.name} could be any of {', '.join(map(str, sorted(found)))}: bring one of them")
    return found[0] if found else None


def _named(place: Path, source: Source) -> bool:
    name = place.absolute().name.lower()
    for ending in ARCHIVE_ENDINGS:
        name = name.removesuffix(ending)
    return name == source.name or name.startswith(f"{source.name}-")


def _unpacked(source: Source, origin: Path | None, staging: Path, say: Say, base_url: str, timeout: float) -> Path:
    """The tree of `source` below `staging`, not yet verified."""
    tree, archive = staging / "tree", staging / "archive"
    if origin is None:
        _download(source, f"{base_url}/{source.repository}/tar.gz/{source.commit}", archive, say, timeout)
    else:
        say(f"{source.name}: taking {origin}")
    try:
        if origin is None:
            _extract(source, archive, tree)
        elif not origin.is_dir():
            _extract(source, origin, tree)
        elif (origin / ".git").exists() or (origin / "objects").is_dir():
            _git_archive(source, origin, archive)
            _extract(source, archive, tree)
        else:
            shutil.copytree(origin, tree, symlinks=True, ignore=shutil.ignore_patterns(STAMP))
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise SourceRefused(
            f"{source.name}: {origin or 'what was downloaded'} cannot be unpacked whole ({error})",
            next_step="nothing of it is kept; " + ("fetch it anew" if origin else "run the same command again"),
        ) from error
    inside = list(tree.iterdir())
    return (
        inside[0] if len(inside) == 1 and inside[0].is_dir() else tree
    )  # GitHub's archives have one folder at the top


def _git_archive(source: Source, clone: Path, archive: Path) -> None:
    """The pinned commit out of `clone`, whatever is checked out there and whatever else lies there."""
    line = ["git", "-C", str(clone), "-c", "core.autocrlf=false", "archive", "--format=tar", "-o", str(archive)]
    try:
        subprocess.run([*line, source.commit], check=True, capture_output=True, text=True)
    except (OSError, subprocess.SubprocessError) as error:
        reason = str(getattr(error, "stderr", "") or error).strip()
        raise SourceRefused(
            f"{source.name}: git cannot give commit {source.commit} of {clone} ({reason})",
            next_step=f"git -C {clone} fetch https://github.com/{source.repository} {source.commit}",
        ) from error


def _download(source: Source, url: str, archive: Path, say: Say, timeout: float) -> None:
    """Streams `url` into `archive`. Raises `SourceUnreachable`, saying what else can be done."""
    host = urlsplit(url).hostname
    say(f"{source.name}: fetching {url}")
    done, last, expected = 0, time.monotonic(), None
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer, archive.open("wb") as file:  # noqa: S310
            expected = answer.headers.get("Content-Length")
            while piece := answer.read(1 << 16):
                file.write(piece)
                done += len(piece)
                if done > source.size + 1_000_000:
                    raise SourceRefused(f"{source.name}: REFUSED {url}: the archive is larger than the tree in it")
                if time.monotonic() - last > 2:
                    last = time.monotonic()
                    say(f"{source.name}: {done / 1e6:.1f} MB")
        problem = f"the download of {url} broke off after {done:,} bytes" if expected not in (None, str(done)) else ""
    except urllib.error.HTTPError as error:
        problem = f"{host} answers {error.code} {error.reason} to {url}"
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        problem = f"the download of {url} broke off after {done:,} bytes" if done else f"{host} cannot be reached"
        problem += f" ({reason})"
    if problem:
        raise SourceUnreachable(
            f"{source.name}: {problem}",
            next_step=f"run it again where {host} can be reached; or bring clones or archives of the repositories "
            "yourself: `f2f firmware sources --from DIR`, verified in the same way; or set TFLM_DIR to a tree of your "
            "own, which nobody verifies; without any of it firmware is built from the sources in the crate tfmicro",
        )


def _extract(source: Source, archive: Path, tree: Path) -> None:
    """Unpacks files, folders and links, nothing else and nothing outside `tree`.

    By hand, since Debian 12's Python has no `tarfile.data_filter`. Links come last: no file is written through one.
    """
    tree.mkdir()
    links: list[tuple[Path, str]] = []
    left = source.size
    with tarfile.open(archive) as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            place = tree / path
            target = os.path.normpath(path.parent / member.linkname) if member.issym() else "."
            if path.is_absolute() or ".." in path.parts or target.startswith(("/", "..")):
                raise SourceRefused(f"{source.name}: REFUSED {archive.name}: {member.name} would lie outside the tree")
            left -= member.size
            if left < 0:
                raise SourceRefused(
                    f"{source.name}: REFUSED {archive.name}: more than the {source.size:,} bytes pinned"
                )
            place.parent.mkdir(parents=True, exist_ok=True)
            if member.isdir():
                place.mkdir(exist_ok=True)
            elif member.issym():
                links.append((place, member.linkname))
            elif member.isreg() and (data := tar.extractfile(member)):
                with place.open("xb") as file:
                    shutil.copyfileobj(data, file)
            else:
                raise SourceRefused(f"{source.name}: REFUSED {archive.name}: {member.name} is no file, folder or link")
    for place, linkname in links:
        place.symlink_to(linkname)
