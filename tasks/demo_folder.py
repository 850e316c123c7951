"""The folder that `f2f demo-frames` writes: `person/`, `no_person/` and the manifest that `f2f import` takes.

A hidden marker says whose the folder is and which bytes belong in it. It is written first, so that a killed run can go
on, and again at the end with every file's digest, so that a second run only reads.
"""

import csv
import hashlib
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path

from tasks.demo_frames import VERSION, DemoFrame, compose
from tasks.errors import PipelineError
from tasks.lineage import CLASSES
from tasks.progress import Progress, silent

MANIFEST = "manifest.csv"
MARKER = ".demo-frames.json"
COLUMNS = ("file", "label", "device", "session", "split", "captured_at")


@dataclass(frozen=True)
class Written:
    """What a call did: files written, files that were right already."""

    folder: Path
    frames: int
    written: int
    kept: int


def write_frames(folder: Path, *, count: int, seed: int, progress: Progress = silent) -> Written:
    """Makes `folder` hold exactly `count` demo frames of `seed` and their manifest; writes only what is not there.

    Raises `PipelineError` where the folder holds something else, or demo frames of another count or seed.
    """
    wanted = {"version": VERSION, "count": count, "seed": seed}
    complete = _claimed(folder, wanted)
    if complete and _all_there(folder, complete):
        return Written(folder, count, 0, count)
    try:
        for name in CLASSES:
            (folder / name).mkdir(parents=True, exist_ok=True)
        _replace(folder / MARKER, json.dumps(wanted).encode())
        digests: dict[str, str] = {}
        lines = []
        written = 0
        for done, frame in enumerate(compose(count, seed), start=1):
            data = encoded(frame)
            digests[frame.file] = hashlib.sha256(data).hexdigest()
            lines.append(_row(frame))
            if _digest_of_file(folder / frame.file) != digests[frame.file]:
                _replace(folder / frame.file, data)
                written += 1
            progress(done, count, "frames")
        manifest = _csv(lines)
        digests[MANIFEST] = hashlib.sha256(manifest).hexdigest()
        _replace(folder / MANIFEST, manifest)
        _replace(folder / MARKER, json.dumps({**wanted, "files": digests}).encode())
    except OSError as error:
        raise PipelineError(
            f"cannot write demo frames to {folder}: {error.strerror or error}",
            next_step="choose a folder that you may write to, with room for about 5 KB a frame",
        ) from error
    return Written(folder, count, written, count - written)


def encoded(frame: DemoFrame) -> bytes:
    """The frame as a gray JPEG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame.pixels).save(buffer, "JPEG", quality=frame.quality)
    return buffer.getvalue()


def _row(frame: DemoFrame) -> tuple[str, ...]:
    return frame.file, frame.label, frame.device, frame.session, frame.split, frame.captured_at.isoformat()


def _csv(lines: list[tuple[str, ...]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(lines)
    return text.getvalue().encode()


def _claimed(folder: Path, wanted: dict[str, int]) -> dict[str, str] | None:
    """File digests where the folder was finished with these parameters, None where it is free or half done."""
    if folder.exists() and not folder.is_dir():
        raise PipelineError(f"{folder} is a file, not a folder", next_step="name a new or empty folder")
    marker = folder / MARKER
    if not marker.exists():
        if folder.is_dir() and any(folder.iterdir()):
            raise PipelineError(
                f"{folder} is not empty and was not made by `f2f demo-frames`",
                next_step="name a new or empty folder: nobody's own pictures are to be mixed with composed ones",
            )
        return None
    try:
        found = json.loads(marker.read_text())
        told = {name: found[name] for name in wanted}
        files = found.get("files")
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise PipelineError(
            f"{marker} cannot be read: {error!r}", next_step=f"delete {folder} and run the command again"
        ) from error
    if told != wanted:
        was, want = (", ".join(f"{name} {value}" for name, value in group.items()) for group in (told, wanted))
        raise PipelineError(
            f"{folder} holds demo frames of {was}; asked for {want}",
            next_step="name another folder, or delete this one",
        )
    return files if isinstance(files, dict) else None


def _all_there(folder: Path, files: dict[str, str]) -> bool:
    return all(_digest_of_file(folder / name) == digest for name, digest in files.items())


def _digest_of_file(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def _replace(path: Path, data: bytes) -> None:
    """Writes atomically: a killed run leaves no half picture."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    part.replace(path)
