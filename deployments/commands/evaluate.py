"""`f2f evaluate`: one model on a folder of labelled images."""

import time
from pathlib import Path

import click

from tasks.kernels import InputRange
from tasks.model_on_folder import FolderResult, evaluate_folder
from tasks.progress import Progress


class _Range(click.ParamType):
    name = "LOW,HIGH"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> InputRange:
        if value == "auto":
            return "auto"
        try:
            low, high = (float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not auto and not two numbers such as 0,1 or -1,1", param, ctx)
        if not -1e6 < low < high < 1e6:
            self.fail(f"{value!r}: the first number must be smaller than the second, both finite", param, ctx)
        return low, high


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    show_default=True,
    help="Score from which a frame counts as person.",
)
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    help="CSV with the columns file and label, where folder names do not tell the label (as in `f2f import`).",
)
@click.option("--workers", type=click.IntRange(0, 256), default=0, help="Processes for a .tflite; 0: one a core.")
@click.option(
    "--input-range",
    type=_Range(),
    default="auto",
    show_default=True,
    help="What gray levels 0 and 255 are to the model: 0,255 or 0,1 or -1,1. auto: by the input's scale where it is "
    "quantised, raw 0..255 where it is float.",
)
def command(
    model: Path,
    folder: Path,
    as_json: bool,
    threshold: float,
    manifest: Path | None,
    workers: int,
    input_range: InputRange,
) -> None:
    """Judge MODEL (.tflite or .keras) on the labelled images in DIR.

    DIR holds the folders person/ and no_person/. Images are treated as camera frames are: 160 x 120 gray,
    then stretched to the model's input. An int8 or uint8 .tflite runs on the device's own kernels (TFLM), compared on a
    sample of frames with TFLite's reference kernels; a float .tflite on TFLite's builtin kernels. The model takes one
    image, gray or RGB, and gives one score of person, or two: [no_person, person].

    \b
    Example:
      f2f evaluate model.tflite holiday-frames/ --json

    Exit codes: 0 evaluated, 1 could not be evaluated (said why), 2 wrong usage.
    """
    result = evaluate_folder(
        model,
        folder,
        manifest=manifest,
        threshold=threshold,
        workers=workers,
        input_range=input_range,
        progress=_shown(),
    )
    click.echo(result.model_dump_json(indent=1) if as_json else _text(result))


def _shown(every: float = 2.0) -> Progress:
    """Progress lines on stderr, at most one every `every` seconds and none for what is over sooner."""
    last = time.monotonic()

    def show(done: int, total: int, unit: str) -> None:
        nonlocal last
        if time.monotonic() - last >= every:
            last = time.monotonic()
            click.echo(f"{done} of {total} {unit}", err=True)

    return show


def _text(result: FolderResult) -> str:
    (tn, fp), (fn, tp) = result.confusion
    lines = [
        f"{result.model}: {result.size_bytes:,} B, {result.input} -> {result.output}",
        f"kernels    {result.kernels}; compared with {result.compared}",
        f"score      {result.score}; person from {result.threshold:g}",
        f"samples    {result.samples:,} in {result.seconds:.1f} s",
        f"accuracy   {result.accuracy:.4f}",
        f"precision  {_figure(result.precision, 'nothing was called person')}",
        f"recall     {_figure(result.recall, 'no frame is person')}",
        f"auc        {_figure(result.auc, 'only one class')}",
        "",
        "                   said no_person  said person",
        f"is no_person       {tn:14,}  {fp:11,}",
        f"is person          {fn:14,}  {tp:11,}",
    ]
    lines += [f"note: {note}" for note in result.notes]
    if result.refused:
        lines += ["", f"left out: {len(result.refused)} files that are no accepted frame"]
        lines += [f"  {image.file}: {image.reason}" for image in result.refused[:10]]
        if len(result.refused) > 10:
            lines.append(f"  and {len(result.refused) - 10} more (--json lists all)")
    return "\n".join(lines)


def _figure(value: float | None, missing: str) -> str:
    return f"{value:.4f}" if value is not None else f"- ({missing})"
