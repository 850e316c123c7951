"""`f2f check-frames`: which files would become frames, and why the others would not. Needs no bucket."""

import contextlib
import os
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import click


class Checked(NamedTuple):
    """One file's answer. `reason` is None where the file is accepted."""

    file: str
    reason: str | None
    message: str

    def as_json(self) -> dict[str, object]:
        """The object that `--json` prints."""
        return {
            "file": self.file,
            "ok": not self.reason,
            "reason": f"{self.reason}: {self.message}" if self.reason else None,
        }


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file on stdout: file, ok, reason.")
def command(folder: Path, as_json: bool) -> None:
    """Say of every file below DIR (or of one file) whether it would become a frame.

    Accepted are JPEG, PNG, PGM and raw 160 x 120 gray8 (19,200 bytes). Everything becomes 160 x 120 gray: turned
    upright by its EXIF orientation, cropped in the middle to 4:3, reduced with an area filter. A portrait photo keeps
    its full width and the middle of its height. Nothing is written; `f2f import` decides by the same rules.

    Refused are, each with its own reason: files that are no picture, damaged or cut off; more than 64 megapixels or
    64 MiB; a 4:3 crop below 80 x 60 or below 30 % of the picture; several pictures in one file; nothing to see
    (black, white, one gray). Hidden files and Thumbs.db are passed over.

    \b
    Examples:
      f2f check-frames photos/
      f2f check-frames photos/ --json | jq -r 'select(.ok | not) | .file'

    Exit codes: 0 all accepted, 1 some refused, 2 DIR does not exist or holds no file.
    """
    from tasks.labelled_folder import shown, walk

    if folder.is_dir():
        files = [(path, path.relative_to(folder).as_posix()) for path in walk(folder)]
        files = [(path, name) for path, name in files if path != folder]
    elif os.path.lexists(folder):
        files = [(folder, folder.name)]
    else:
        files = []
    if not files:
        what = "holds no file" if folder.is_dir() else "does not exist"
        click.echo(f"error: {shown(folder)} {what}\n  next: give a folder with pictures, or one file", err=True)
        sys.exit(2)
    counts = _checked(files, as_json=as_json)
    sys.exit(1 if sum(counts[reason] for reason in counts if reason) else 0)


def _checked(files: list[tuple[Path, str]], *, as_json: bool) -> Counter[str | None]:
    """Checks and prints; reason -> count, None for accepted."""
    import json

    from deployments.progress_bar import progress_bar
    from tasks.parallel import cores, in_parallel
    from tasks.progress import silent

    counts: Counter[str | None] = Counter()
    refused: list[Checked] = []
    bar = progress_bar("check") if sys.stderr.isatty() and not sys.stdout.isatty() else contextlib.nullcontext(silent)
    with bar as progress:
        for one in in_parallel(lambda file: check(*file), files, cores(), progress, "files"):
            counts[one.reason] += 1
            if as_json:
                click.echo(json.dumps(one.as_json()))
            elif one.reason:
                refused.append(one)
    if not as_json:
        _print(counts, refused)
    return counts


def check(path: Path, name: str) -> Checked:
    """Whether a file would become a frame; never raises for what the file is."""
    from tasks.frames import FrameRefused, decode, read_file
    from tasks.labelled_folder import readable

    try:
        decode(read_file(path), name)
    except FrameRefused as refusal:
        return Checked(readable(name), refusal.reason, refusal.message)
    return Checked(readable(name), None, "")


def _print(counts: Counter[str | None], refused: list[Checked]) -> None:
    accepted, total = counts[None], counts.total()
    width = max((len(one.reason or "") for one in refused), default=0)
    for one in refused:
        click.echo(f"{one.reason:<{width}}  {one.file}: {one.message}")
    if refused:
        click.echo("")
    click.echo(f"{accepted:,} of {total:,} files accepted" + (f", {total - accepted:,} refused:" if refused else ""))
    for reason, count in counts.most_common():
        if reason:
            click.echo(f"  {count:>7,}  {reason}")
