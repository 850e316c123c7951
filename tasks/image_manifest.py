"""A CSV manifest of labelled images: columns `file` and `label`, optionally device, session, split, captured_at.

A bad row is refused by its line number with a reason and never stops the others.
"""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import get_args

from tasks.labelled_folder import (
    LABEL_FOLDERS,
    SPLIT_FOLDERS,
    FolderRefused,
    LabelledFile,
    LabelledFolder,
    RefusedRow,
    absolute,
    existing_folder,
    shown,
)
from tasks.lineage import CLASSES, SPLITS, Label

REQUIRED = ("file", "label")
OPTIONAL = ("device", "session", "split", "captured_at")
_PROBED = 200  # rows that decide which folder the names are relative to


class ManifestRefused(FolderRefused):
    """A manifest that cannot be read as one."""


def from_manifest(
    folder: Path, manifest: Path, device: str | None, only: Mapping[str, Collection[str]] | None = None
) -> LabelledFolder:
    """The images that `manifest` names below `folder`.

    `device` is for rows without one. `only` keeps rows whose column has one of the given values. Names are relative to
    `folder`, or to the manifest's own folder where that is above it; then rows elsewhere are passed over.
    Raises `FolderRefused`, `ManifestRefused`.
    """
    existing_folder(folder)
    folder = absolute(folder)
    columns, rows = _rows(manifest)
    only = only or {}
    for column in only:
        if column not in columns:
            raise ManifestRefused(
                f"no column {column!r} in {shown(manifest)}", next_step=f"it has {', '.join(columns)}"
            )
    wanted = [(line, row) for line, row in rows if all(row[name] in values for name, values in only.items())]
    base = _base(folder, manifest, [row["file"] for _, row in wanted[:_PROBED]])
    notes = []
    if only:
        chosen = " and ".join(f"{name} {' or '.join(values)}" for name, values in only.items())
        notes.append(f"{len(wanted):,} of the manifest's {len(rows):,} rows have {chosen}")
    if base != folder:
        before = len(wanted)
        wanted = [(line, row) for line, row in wanted if absolute(base / row["file"]).is_relative_to(folder)]
        notes.append(
            f"names are relative to the manifest's folder; {before - len(wanted):,} rows are not in {folder.name}/"
        )
    if not wanted:
        raise ManifestRefused(
            f"{shown(manifest)} names no image to import", next_step="; ".join(notes) or "add rows to it"
        )
    ignored = [name for name in columns if name not in REQUIRED + OPTIONAL and name not in only]
    if ignored:
        notes.append(f"columns not used: {', '.join(ignored)}")
    files: list[LabelledFile] = []
    refused: list[RefusedRow] = []
    doubled = _doubled(wanted)
    for line, row in wanted:
        found = doubled.get(line) or _file(base, row, device)
        if isinstance(found, LabelledFile):
            files.append(found)
        else:
            refused.append(RefusedRow(line, row["file"], *found))
    labels = Counter(file.label for file in files)
    if len(labels) == 1:
        notes.append(f"only {files[0].label} is there: a model needs both {' and '.join(CLASSES)}")
    return LabelledFolder(f"manifest {manifest.name}", tuple(files), tuple(refused), tuple(notes))


def _rows(manifest: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Column names, and every row with its line number."""
    try:
        text = manifest.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestRefused(
            f"{shown(manifest)} is not UTF-8 text: {error.reason} at byte {error.start}",
            next_step="save it as CSV in UTF-8",
        ) from error
    except OSError as error:
        raise ManifestRefused(f"{shown(manifest)} cannot be read: {error.strerror}") from error
    header = text.lstrip("\r\n").split("\n", 1)[0]
    mark = max(",;\t", key=header.count)  # spreadsheets write semicolons where the comma is the decimal mark
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
    rows: list[tuple[int, dict[str, str]]] = []
    columns: list[str] = []
    try:
        for values in reader:
            if not any(value.strip() for value in values):
                continue
            if not columns:
                columns = [value.strip() for value in values]
                continue
            padded = [value.strip() for value in values] + [""] * (len(columns) - len(values))
            rows.append((reader.line_num, dict(zip(columns, padded, strict=False))))
    except csv.Error as error:
        raise ManifestRefused(
            f"{shown(manifest)}, line {reader.line_num}: {error}", next_step="save it as CSV"
        ) from error
    missing = [name for name in REQUIRED if name not in columns]
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if missing or twice:
        what = f"no column {' and '.join(missing)}" if missing else f"two columns {twice[0]}"
        raise ManifestRefused(
            f"{shown(manifest)} has {what}; its first line is {header.strip()[:100]!r}",
            next_step=f"the first line names the columns: {', '.join(REQUIRED)}, optionally {', '.join(OPTIONAL)}",
        )
    return columns, rows


def _base(folder: Path, manifest: Path, names: list[str]) -> Path:
    """What the names are relative to: `folder`, or the manifest's folder above it where more of them exist there."""
    above = absolute(manifest).parent
    if not folder.is_relative_to(above) or above == folder:
        return folder
    here, there = (sum(_is_file(base / name) for name in names if name) for base in (folder, above))
    return above if there > here else folder


def _doubled(rows: list[tuple[int, dict[str, str]]]) -> dict[int, tuple[str, str]]:
    """Lines that name a file again: all of them where they disagree, else all but the first."""
    lines: dict[str, list[tuple[int, tuple[str, ...]]]] = defaultdict(list)
    for line, row in rows:
        facts = tuple(row.get(name, "") for name in ("label", *OPTIONAL))
        lines[str(PurePosixPath(row["file"].replace("\\", "/")))].append((line, facts))
    refused: dict[int, tuple[str, str]] = {}
    for same in lines.values():
        if len(same) < 2:
            continue
        numbers = ", ".join(str(line) for line, _ in same[:5])
        if len({facts for _, facts in same}) > 1:
            message = f"lines {numbers} name this file and disagree about it; none of them is taken"
            refused |= {line: ("conflicting_rows", message) for line, _ in same}
        else:
            message = f"lines {numbers} say the same of this file; the first one is taken"
            refused |= {line: ("duplicate_row", message) for line, _ in same[1:]}
    return refused


def _file(base: Path, row: dict[str, str], device: str | None) -> LabelledFile | tuple[str, str]:
    """The image of one row, or why the row is refused (code, sentence)."""
    name = row["file"].replace("\\", "/")
    if not name or "\0" in name:
        return "no_file_name", "the row names no file"
    if PurePosixPath(name).is_absolute() or not _stays_below(name):
        return "path_outside", f"{name} is outside of the folder; names are relative to it"
    label = LABEL_FOLDERS.get(row["label"].lower())
    if label is None:
        return "unknown_label", f"label {row['label']!r}; allowed are {' and '.join(get_args(Label))}"
    split = SPLIT_FOLDERS.get(row.get("split", "").lower())
    if row.get("split") and split is None:
        return "unknown_split", f"split {row['split']!r}; allowed are {', '.join(SPLITS)}, or none"
    try:
        captured_at = _moment(row.get("captured_at", ""))
    except ValueError:
        return "bad_time", f"captured_at {row['captured_at']!r} is not a time like 2026-01-31T14:25:30Z"
    of_device = row.get("device") or device
    if not of_device:
        return "no_device", "the row names no device, and none was given with --device"
    path = base / name
    if not _is_file(path):
        return "missing_file", f"there is no file {name}"
    session = row.get("session") or None
    return LabelledFile(path, name, of_device, label, "manifest", split, session, captured_at=captured_at)


def _is_file(path: Path) -> bool:
    """Whether there is something to read; a broken link counts, so that whoever reads it says what is wrong."""
    try:
        return path.is_file() or path.is_symlink()
    except OSError:  # a name longer than a name may be, a folder that may not be entered
        return False


def _stays_below(name: str) -> bool:
    depth = 0
    for part in PurePosixPath(name).parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return False
    return depth > 0


def _moment(text: str) -> datetime | None:
    """ISO 8601 as UTC; a time without an offset is UTC."""
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def only_options(texts: Collection[str]) -> dict[str, list[str]]:
    """`COLUMN=VALUE` texts as a mapping; a column given twice allows both values. Raises `ManifestRefused`."""
    wanted: dict[str, list[str]] = defaultdict(list)
    for column, value in _pairs(texts):
        wanted[column].append(value)
    return dict(wanted)


def _pairs(texts: Collection[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        column, mark, value = text.partition("=")
        if not mark or not column.strip():
            raise ManifestRefused(f"--only {text!r} is no COLUMN=VALUE", next_step="for example --only batch=seed")
        yield column.strip(), value.strip()
