"""Where precision is lost, as the report page and the short summary show it. Pure."""

from typing import Any

from tasks.layer_error import SNR_LIMIT, error_share, layer_sentence, percent_text, worst_layers
from tasks.lineage import LayerError, Report

SHOWN = 10  # layers in the page's table
NAMED = 3  # layers in words and marked in the picture


def layer_view(report: Report) -> dict[str, Any]:
    """What the page's section shows: sentences, picture and rows. `report` has layers."""
    from tasks.plots import layer_ratios

    worst = worst_layers(report, SHOWN)
    return {
        "basis": layer_basis(report),
        "sentences": [layer_sentence(layer) for layer in worst[:NAMED]],
        "picture": layer_ratios(report.layers, worst[:NAMED]),
        "rows": [_row(layer) for layer in worst],
    }


def layer_basis(report: Report) -> str:
    """What was compared with what, in a sentence or two."""
    frames = min(report.parameters.layer_frames, report.quantized.samples)
    count = len(report.layers)
    text = (
        f"The output of {count} {'operator' if count == 1 else 'operators'} of the INT8 model against FP32, on "
        f"{frames} of these frames."
    )
    if report.layers_left_out:
        text += (
            f" {report.layers_left_out} more {'has' if report.layers_left_out == 1 else 'have'} no counterpart in FP32 "
            f"and {'is' if report.layers_left_out == 1 else 'are'} left out."
        )
    return text


def layer_markdown(report: Report) -> list[str]:
    """Lines for the short summary; none without layers."""
    return [f"{rank}. {layer_sentence(layer)}" for rank, layer in enumerate(worst_layers(report, NAMED), 1)]


def decibels(value: float | None) -> str:
    """A signal-to-noise ratio; beyond the limits of what is computed in words."""
    if value is None:
        return "–"
    return "exact" if value >= SNR_LIMIT else "no signal" if value <= -SNR_LIMIT else f"{value:.1f}"


def _row(layer: LayerError) -> dict[str, Any]:
    share = error_share(layer.own_snr_db)
    return {
        "name": layer.name,
        "op": layer.op,
        "operator": layer.operator,
        "own": decibels(layer.own_snr_db),
        "share": percent_text(share),
        "bar": min(100.0, 100 * share),
        "before": "–" if layer.drop_db is None else decibels(layer.snr_db + layer.drop_db),
        "after": decibels(layer.snr_db),
        "saturated": percent_text(layer.saturated),
    }
