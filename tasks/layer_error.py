"""Where precision is lost: the error of each operator of the INT8 model against FP32, on a few real frames.

The INT8 model runs on TFLite's reference kernels, which give the device's bytes and keep every tensor. Two ratios say
what an operator does. `snr_db` compares its output in the running model with FP32's: it carries the damage of all
operators before this one. Its drop from input to output is no judge either: a bad layer behind another one hardly
lowers what is low already, and a good one that damps its signal looks bad. `own_snr_db` is of the operator alone, on
FP32's activations (layer_sums.py), and layers are ranked by it. (Of 191 times that one to three activation ranges of a
MobileNetV2 0.5 were clipped to a quarter, it ranked exactly those layers first in all, the drop in 42.)
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.errors import PipelineError
from tasks.interpreters import TIME_LIMIT, run_job
from tasks.kernels import Job
from tasks.layer_match import Matched, match
from tasks.layer_names import layer_names
from tasks.layer_sums import SUMS
from tasks.lineage import LayerError, Report
from tasks.progress import Progress, silent
from tasks.tflite_file import Subgraph, read_model

SNR_LIMIT = 120.0  # dB; float32 sees no smaller error than about -140


class LayersNotComparable(PipelineError):
    """Two files that are not one model in FP32 and in INT8, or activations that are no numbers."""


def layer_errors(
    fp32: bytes,
    int8: bytes,
    frames: NDArray[np.uint8],
    *,
    workers: int = 0,
    name: str = "INT8 model",
    frame_name: Callable[[int], str] = str,
    progress: Progress = silent,
    time_limit: float = TIME_LIMIT,
) -> tuple[tuple[LayerError, ...], int]:
    """The error of each operator in execution order, and how many operators of the INT8 file have no counterpart.

    Both are .tflite files of one graph by one converter; `frames` uint8 (n, 120, 160). Interpreters run in processes of
    their own, `workers` 0: one a core. Sixteen frames of a MobileNetV2 0.5 take three seconds on two cores. Raises
    `LayersNotComparable`, `NotAModel`, and `tasks.interpreters.InterpreterError`.
    """
    graph = read_model(int8).subgraphs[0]
    matched = match(read_model(fp32).subgraphs[0], graph)
    if not any(pair.reference is not None for pair in matched.pairs):
        raise LayersNotComparable(
            f"{name}: none of its {len(graph.operators)} operators is found in the FP32 .tflite",
            next_step="both files must come from one conversion; convert the model again",
        )
    job = Job("layers", int8, (0.0, 255.0), reference=False, any_output=True, fp32=fp32)
    outputs = run_job(job, frames, None, workers, f"layers of {name}", frame_name, progress, time_limit)
    sums = outputs.values.reshape(len(frames), len(matched.pairs), len(SUMS)).sum(axis=0)
    return _errors(graph, matched, sums, len(frames), name), len(matched.left_out)


def layer_choice(
    labels: NDArray[np.uint8], pixels_sha256: Sequence[str], count: int, seed: int = 0
) -> NDArray[np.int64]:
    """Positions, ascending, of `count` frames: both classes equally often, of one more where the other has too few.

    The choice depends on hashes and not on order. All frames where there are no more than `count`.
    """
    turns = []
    for label in (0, 1):
        here = sorted(np.flatnonzero(labels == label).tolist(), key=lambda index: pixels_sha256[index])
        for turn, index in enumerate(np.random.default_rng((seed, label)).permutation(len(here))):
            turns.append((turn, label, here[index]))
    return np.array(sorted(index for _, _, index in sorted(turns)[:count]), np.int64)


def snr_db(signal: float, noise: float) -> float:
    """10 log10(signal / noise) of two sums of squares, in dB, never beyond -120..120.

    Without noise it is 120, whatever the signal; of no signal with noise it is -120.
    """
    if noise <= 0:
        return SNR_LIMIT
    if signal <= 0:
        return -SNR_LIMIT
    return float(np.clip(10 * (np.log10(signal) - np.log10(noise)), -SNR_LIMIT, SNR_LIMIT))


def worst_layers(report: Report, n: int = 3) -> tuple[LayerError, ...]:
    """The `n` layers that lose most by themselves, worst first; fewer where fewer lose anything.

    Empty for a report without layers: one from before there were any, or made with `layer_frames` 0.
    """
    losing = [layer for layer in report.layers if layer.own_snr_db < SNR_LIMIT]
    return tuple(sorted(losing, key=lambda layer: (layer.own_snr_db, layer.operator))[:n])


def layer_sentence(layer: LayerError) -> str:
    """What a layer loses, for an alert or a report."""
    text = (
        f"{layer.name} ({layer.op}, operator {layer.operator}) by itself makes an error of "
        f"{percent_text(error_share(layer.own_snr_db))} of its signal ({layer.own_snr_db:.1f} dB)"
    )
    if layer.saturated:
        text += f"; {percent_text(layer.saturated)} of its values lie outside its INT8 range"
    if layer.drop_db is not None and layer.drop_db >= 0.05:
        before = layer.snr_db + layer.drop_db
        return f"{text}; in the running model {before:.1f} dB before it become {layer.snr_db:.1f} dB"
    return f"{text}; in the running model its output has {layer.snr_db:.1f} dB"


def error_share(ratio_db: float) -> float:
    """An error as a fraction of its signal, root mean squares of both: 0.1 at 20 dB."""
    return float(10 ** (-ratio_db / 20))


def percent_text(fraction: float) -> str:
    """Two digits that count: 0.065 %, 4.2 %, 41 %, 1,000 %."""
    percent = 100 * fraction
    if 0 < percent < 0.001:
        return "under 0.001 %"
    return f"{percent:,.0f} %" if percent >= 9.95 else f"{percent:.2g} %"


def _errors(
    graph: Subgraph, matched: Matched, sums: NDArray[np.float64], frames: int, name: str
) -> tuple[LayerError, ...]:
    """`sums`: (operators, SUMS), over all frames."""
    names, found = layer_names(graph), []
    snr: dict[int, float] = {}  # by tensor
    for pair, row in zip(matched.pairs, sums, strict=True):
        if not np.isfinite(row).all():
            raise LayersNotComparable(
                f"{name}: layer {names[pair.operator]} ({pair.name}) has FP32 activations that are not finite",
                next_step="train again with a smaller learning rate; a model with such values has no scores either",
            )
        signal, noise, own_noise, outside = row.tolist()
        before = min((snr[i] for i in pair.inputs if i in snr), default=SNR_LIMIT)
        snr[pair.output] = snr_db(signal, noise)
        found.append(
            LayerError(
                operator=pair.operator,
                op=pair.name,
                name=names[pair.operator],
                snr_db=snr[pair.output],
                own_snr_db=snr_db(signal, own_noise),
                drop_db=before - snr[pair.output] if before < SNR_LIMIT else None,
                saturated=outside / (frames * graph.tensors[pair.output].elements),
            )
        )
    return tuple(found)
