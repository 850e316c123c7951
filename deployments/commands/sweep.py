"""`f2f sweep`: the sweep flow in the foreground."""

import json

import click

from deployments.assignments import described, parse
from flows.parameters import SweepParameters


@click.command()
@click.argument("assignments", nargs=-1, metavar="[NAME=VALUE ...]")
@click.option("--parameters", "list_parameters", is_flag=True, help="List every parameter with default and bounds.")
@click.option("--json", "as_json", is_flag=True, help="Print the points as JSON on stdout; logs go to stderr.")
def command(assignments: tuple[str, ...], list_parameters: bool, as_json: bool) -> None:
    """Compare widths and input sizes: accuracy against INT8 size, tensor memory and MACs.

    Judged on the validation split; the test split stays for the verdict. Points that were measured before are found
    again. Start small: dataset.max_frames and fine_tune_epochs bound the time.

    \b
    Examples:
      f2f sweep
      f2f sweep 'alphas=[0.35,0.5,0.75]' 'widths=[96,128,160]' dataset.max_frames=4000 weights=none

    Exit codes: 0 measured, 1 failed.
    """
    if list_parameters:
        click.echo(described(SweepParameters))
        return
    parameters = parse(SweepParameters, assignments)
    from deployments.stack import apply_stack_environment

    apply_stack_environment()
    from flows.sweep import sweep

    points = sweep(parameters)
    if as_json:
        click.echo(json.dumps([point.model_dump() for point in points], indent=1))
        return
    click.echo(f"{'':2}{'architecture':<16}{'INT8':>8}{'FP32':>8}{'bytes':>12}{'arena bound':>13}{'MACs':>14}")
    for point in points:
        int8, fp32 = (f"{a:.4f}" if a is not None else "-" for a in (point.accuracy_int8, point.accuracy_fp32))
        click.echo(
            f"{'*' if point.on_front else ' ':2}{point.name:<16}{int8:>8}{fp32:>8}"
            f"{point.size_bytes:>12,}{point.activation_peak_bytes:>13,}{point.macs:>14,}"
        )
    click.echo("* on the Pareto front: nothing else here is at least as good in everything")
