"""`f2f audit`: whether a .tflite is fit for TensorFlow Lite Micro, and why not."""

import json
import math
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tasks.flatbuffer import Audit
    from tasks.lineage import Offender, TensorFacts
    from tasks.tflm_support import Revision

CLEAN, OFFENDERS, NOT_A_MODEL = 0, 1, 2
_PLACES_SHOWN = 4


@click.command("audit")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option(
    "--tflm",
    type=click.Choice(["upstream", "registry"]),
    default="upstream",
    show_default=True,
    help="Kernels that must be able to run it: tflite-micro of 2026-08, or the crate tfmicro's of 2020-07.",
)
def command(model: Path, as_json: bool, tflm: "Revision") -> None:
    """Say whether MODEL, a .tflite file, is fit for TensorFlow Lite Micro, and if not, every reason with its place.

    Refused are float tensors and operators, QUANTIZE and DEQUANTIZE at a float edge, hybrid, custom and Flex
    operators, float inputs and outputs, degenerate scales, and operators or types that TFLM has no kernel for. A
    conversion with TFLITE_BUILTINS_INT8 that succeeds is no proof of any of this.

    \b
    Example:   f2f audit model.tflite
               f2f audit model.tflite --tflm registry --json | jq '.offenders[].op'

    \b
    Exit code: 0  clean
               1  there are offenders
               2  not a model: missing, truncated, damaged or another format
    """
    from tasks.flatbuffer import NotAModel, audit_file

    try:
        result = audit_file(model, tflm=tflm)
    except NotAModel as error:
        if as_json:
            click.echo(json.dumps({"file": str(model), "clean": False, "error": error.message} | _NOTHING, indent=2))
        else:
            click.echo(f"{model}: not a model: {error}", err=True)
        sys.exit(NOT_A_MODEL)
    click.echo(json.dumps(as_dict(model, result, tflm), indent=2) if as_json else as_text(model, result, tflm))
    sys.exit(CLEAN if result.clean else OFFENDERS)


_NOTHING: dict[str, Any] = {"ops": {}, "offenders": []}


def as_dict(model: Path, result: "Audit", tflm: str) -> dict[str, Any]:
    """The audit as plain JSON values; a scale that is no finite number is null."""
    facts = result.facts
    return {
        "file": str(model),
        "clean": result.clean,
        "tflm": tflm,
        "size_bytes": facts.size_bytes,
        "weights_bytes": facts.weights_bytes,
        "activation_peak_bytes": facts.activation_peak_bytes,
        "macs": facts.macs,
        "inputs": [_plain(t) for t in facts.inputs],
        "outputs": [_plain(t) for t in facts.outputs],
        "ops": result.ops,
        "offenders": [offender.model_dump() for offender in result.offenders],
    }


def _plain(tensor: "TensorFacts") -> dict[str, Any]:
    return tensor.model_dump() | {"scale": tensor.scale if math.isfinite(tensor.scale) else None}


def as_text(model: Path, result: "Audit", tflm: str) -> str:
    """The audit for a terminal: the verdict, the figures, then the offenders grouped by what to do about them."""
    facts, count = result.facts, len(result.offenders)
    verdict = (
        click.style("clean", fg="green", bold=True)
        if result.clean
        else click.style(f"rejected, {count} offender{'s' if count > 1 else ''}", fg="red", bold=True)
    )
    lines = [f"{model}: {verdict} (TFLM {tflm})", ""]
    rows = [
        ("size", f"{facts.size_bytes:,} B, of which constants {facts.weights_bytes:,} B"),
        ("activations", f"{facts.activation_peak_bytes:,} B at least (liveness bound of the tensor arena)"),
        ("arithmetic", f"{facts.macs:,} multiply-accumulates an inference"),
        *(("input", _tensor(t)) for t in facts.inputs),
        *(("output", _tensor(t)) for t in facts.outputs),
        ("operators", ", ".join(f"{name} {n}" for name, n in result.ops.items()) or "none"),
    ]
    for label, text in rows:
        lines += _block(label, text)
    groups: dict[tuple[str, str], list[Offender]] = {}
    for offender in result.offenders:
        groups.setdefault((offender.kind, offender.fix), []).append(offender)
    for (kind, fix), members in sorted(groups.items(), key=lambda item: item[0][0] in ("float_io", "float_edge")):
        lines += ["", _heading(kind, members)]
        shown = members if len(members) <= _PLACES_SHOWN + 1 else members[:_PLACES_SHOWN]
        lines += _block("where", "\n".join(_place(offender) for offender in shown))
        if len(shown) < len(members):
            lines += _block("", f"... and {len(members) - len(shown)} more (--json lists every one)")
        causes = list(dict.fromkeys(offender.cause for offender in members))
        lines += _block("cause", causes[0] + (f" (and {len(causes) - 1} like it)" if len(causes) > 1 else ""))
        lines += _block("fix", fix)
    return "\n".join(lines)


def _heading(kind: str, members: "list[Offender]") -> str:
    counted: dict[str, int] = {}
    for offender in members:
        counted[offender.op] = counted.get(offender.op, 0) + 1
    names = ", ".join(f"{name} {n}" for name, n in counted.items() if name)
    return click.style(f"{kind} x {len(members)}", bold=True) + (f": {names}" if names else "")


def _place(offender: "Offender") -> str:
    where = f"operator {offender.index} {offender.op}" if offender.op else f"tensor {offender.index}"
    return f"{where}, {_short(offender.tensor)}" if offender.tensor else where


def _short(name: str) -> str:
    """A tensor name that fits a line: converters join the names of everything that they fused."""
    return name if len(name) <= 60 else f"{name[:28]}...{name[-29:]}"


def _tensor(tensor: "TensorFacts") -> str:
    shape = " x ".join(map(str, tensor.shape)) or "scalar"
    scale = f", scale {tensor.scale:.6g}, zero point {tensor.zero_point}" if tensor.scale else ""
    return f"{_short(tensor.name)}: {tensor.dtype} {shape}{scale}"


def _block(label: str, text: str) -> list[str]:
    """`label` in a column, `text` beside it, wrapped to the terminal."""
    width = max(min(shutil.get_terminal_size((100, 24)).columns, 120), 60)
    lines: list[str] = []
    for paragraph in text.split("\n"):
        lines += textwrap.wrap(paragraph, width - 15, break_on_hyphens=False) or [""]
    return [f"  {label if i == 0 else '':<12} {line}" for i, line in enumerate(lines)]
