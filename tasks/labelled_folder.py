"""Labelled images on disk: which files there are, with label, split, device and session as far as the folder says so.

Three layouts: `person/` and `no_person/`; the article's `train|val|test/` with those inside; or any folder with a
manifest (tasks/image_manifest.py). Nothing here opens an image.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from tasks.errors import PipelineError
from tasks.lineage import CLASSES, SPLITS, Label, Split

LABEL_FOLDERS: dict[str, Label] = {"person": "person", "no_person": "no_person", "not_person": "no_person"}
SPLIT_FOLDERS: dict[str, Split] = {"train": "train", "val": "val", "validation": "val", "test": "test"}
# What systems leave in folders by themselves. Names with a leading dot are passed over as well.
_SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx"}
# What lies beside images on purpose: annotations, lists, read-mes.
_SIDE_FILES = {".txt", ".csv", ".tsv", ".json", ".xml", ".yaml", ".yml", ".md"}
_LAYOUTS = (
    "expected person/ and no_person/ in it, or train/, val/ and test/ with those two in each, "
    "or a manifest given with --manifest"
)


class FolderRefused(PipelineError):
    """A folder that is missing, empty, or in no known layout."""


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """One image on disk and what is known of it before it is opened."""

    path: Path
    name: str  # relative to the folder, with slashes; always encodable as UTF-8
    device: str
    label: Label | None
    label_source: Literal["folder", "manifest"]
    split: Split | None = None
    session: str | None = None  # from the manifest
    folder: str | None = None  # first sub-folder below the label
    captured_at: datetime | None = None  # from the manifest, UTC


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row of the manifest that names no usable image."""

    row: int  # line number in the manifest
    name: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class LabelledFolder:
    """What was found, in the order of the names or of the manifest's rows. `notes` are sentences for the user."""

    layout: str
    files: tuple[LabelledFile, ...]
    refused_rows: tuple[RefusedRow, ...] = ()
    notes: tuple[str, ...] = ()


def labelled_folder(folder: Path, device: str) -> LabelledFolder:
    """The labelled images below `folder`, by the names of its folders.

    Raises `FolderRefused` where the folder is missing, in no known layout, or without a file.
    """
    existing_folder(folder)
    notes: list[str] = []
    if not _labels_in(folder) and not _splits_in(folder) and (folder / "dataset").is_dir():
        folder = folder / "dataset"
        notes.append("took the folder dataset/ inside it")
    labels, splits = _labels_in(folder), _splits_in(folder)
    if labels and splits:
        raise FolderRefused(
            f"{shown(folder)} holds {_listed(labels)} and {_listed(splits)}: with or without a split?",
            next_step="move one of the two elsewhere, or name the images in a manifest (--manifest)",
        )
    if not labels and not splits:
        raise FolderRefused(f"no labelled folders in {shown(folder)}; {_LAYOUTS}", next_step=_near_miss(folder))
    places: list[tuple[Path, Label, Split | None]] = [(place, label, None) for place, label in labels.items()]
    for within, of_split in splits.items():
        places += [(place, label, of_split) for place, label in _labels_in(within).items()]
    files: list[LabelledFile] = []
    aside: Counter[str] = Counter()
    for place, label, split in places:
        for path in walk(place):
            if path.suffix.lower() in _SIDE_FILES:
                aside[path.suffix.lower()] += 1
                continue
            below = path.relative_to(place).parts
            session = readable(below[0]) if len(below) > 1 else None
            name = readable(path.relative_to(folder).as_posix())
            files.append(LabelledFile(path, name, device, label, "folder", split, folder=session))
    if not files:
        raise FolderRefused(
            f"no images in {shown(folder)}: its labelled folders are empty", next_step=_near_miss(folder)
        )
    notes += _notes(folder, [*labels, *splits], {label for _, label, _ in places}, aside, [p for p, _, _ in places])
    layout = (
        "person/ and no_person/" if labels else f"{', '.join(sorted(set(splits.values()), key=SPLITS.index))} folders"
    )
    files.sort(key=lambda file: file.name)
    return LabelledFolder(layout, tuple(files), notes=tuple(notes))


def existing_folder(folder: Path) -> None:
    """Raises `FolderRefused` where there is no such folder or it may not be read."""
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise FolderRefused(f"{shown(folder)} {what}", next_step="give the folder that holds the images")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise FolderRefused(f"{shown(folder)} may not be read", next_step="check its permissions")


def walk(folder: Path) -> Iterator[Path]:
    """All files below a folder in the order of their names, without hidden ones and what systems leave behind.

    Follows links to folders and never visits a folder twice, so that a loop of links ends. A folder that may not be
    read is given as if it were a file: whoever reads it says so.
    """
    yield from _walk(folder, set())


def _walk(folder: Path, visited: set[tuple[int, int]]) -> Iterator[Path]:
    try:
        facts = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
    except OSError:
        yield folder
        return
    if (facts.st_dev, facts.st_ino) in visited:
        return
    visited.add((facts.st_dev, facts.st_ino))
    for entry in entries:
        if passed_over(entry.name):
            continue
        try:
            inner = entry.is_dir()
        except OSError:  # a link that leads in circles
            inner = False
        if inner:
            yield from _walk(folder / entry.name, visited)
        else:
            yield folder / entry.name


def passed_over(name: str) -> bool:
    """Whether a file or folder of this name is no business of ours (.DS_Store, ._x.jpg, Thumbs.db, __MACOSX)."""
    return name.startswith(".") or name.lower() in _SYSTEM_FILES


def readable(text: str) -> str:
    """A file name as text that every encoding can carry: bytes that are no UTF-8 become `\\xNN`."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def absolute(path: Path) -> Path:
    """The path from the root without `..`, links kept as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (Path.absolute keeps "..", Path.resolve follows links)


def shown(path: Path) -> str:
    """A path for a message."""
    return readable(str(path))


def _labels_in(folder: Path) -> dict[Path, Label]:
    return {folder / name: label for name, label in LABEL_FOLDERS.items() if (folder / name).is_dir()}


def _splits_in(folder: Path) -> dict[Path, Split]:
    found = {folder / name: split for name, split in SPLIT_FOLDERS.items() if (folder / name).is_dir()}
    return {place: split for place, split in found.items() if _labels_in(place)}


def _notes(
    folder: Path, taken: list[Path], labels: set[Label], aside: Counter[str], places: list[Path]
) -> Iterator[str]:
    if any(place.name == "not_person" for place in places):
        yield "not_person/ is taken as no_person"
    if len(labels) == 1:
        yield f"only {labels.pop()} is there: a model needs both {' and '.join(CLASSES)}"
    for suffix, count in sorted(aside.items()):
        yield f"left aside: {count:,} {suffix} file{'s' * (count != 1)} beside the images"
    names = {place.name for place in taken}
    others = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name not in names and not passed_over(p.name))
    if others:
        listed = ", ".join(readable(name) + "/" for name in others[:5])
        yield f"left alone: {listed}{f' and {len(others) - 5} more' if len(others) > 5 else ''} (no label in the name)"


def _listed(places: dict[Path, Label] | dict[Path, Split]) -> str:
    return " and ".join(place.name + "/" for place in places)


def _near_miss(folder: Path) -> str:
    """What to do about a folder without labels, with what it has instead."""
    manifests = sorted(folder.glob("*.csv"))
    if manifests:
        return f"if {readable(manifests[0].name)} names the images and their labels: --manifest {shown(manifests[0])}"
    inner = sorted(p.name for p in folder.iterdir() if p.is_dir() and not passed_over(p.name))
    has = f"it has {', '.join(readable(name) + '/' for name in inner[:6])}" if inner else "it has no folders"
    return f"{has}; put the images into person/ and no_person/"
