"""Pictures of the report as SVG that belongs into a page: its colours are the page's, light, dark or printed.

Matplotlib draws in fixed stand-in colours, which become CSS variables (`--ink`, `--fp32`, ...) afterwards. No state is
shared between figures (no pyplot), equal input gives equal bytes.
"""

import io
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.layer_error import SNR_LIMIT
from tasks.lineage import EpochFigures, LayerError
from tasks.metrics import roc_points
from tasks.sweep_point import SweepPoint

# Stand-in colours: any that no colour map yields.
INK, MUTED, GRID, FP32, INT8, BAD = "#010203", "#020304", "#030405", "#040506", "#050607", "#060708"
CARD = "#070809"  # what a picture lies on
_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line", FP32: "--fp32", INT8: "--int8", BAD: "--bad"}
_VARIABLES[CARD] = "--card"


def drawn(name: str, title: str, size: tuple[float, float], draw: Callable[[Any], None]) -> str:
    """`draw(figure)` as an inline <svg>. `name` is unique on the page, `title` is read out to who cannot see it."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.fonttype": "none",  # text stays text: small, selectable, in the page's own font
        "svg.hashsalt": name,
        "font.family": "sans-serif",
        "font.size": 9.5,
        "text.color": INK,
        "axes.labelcolor": MUTED,
        "axes.edgecolor": GRID,
        "axes.titlesize": 10,
        "axes.titlecolor": INK,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.7,
        "xtick.color": GRID,
        "ytick.color": GRID,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": MUTED,
        "legend.frameon": False,
        "lines.linewidth": 1.8,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_a_page(buffer.getvalue(), name, title)


def _for_a_page(svg: str, name: str, title: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)  # matplotlib repeats every text as a comment
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    # An id occurs once on the page: what is referred to gets the picture's name, the rest goes.
    used = set(re.findall(r'(?:href="|url\()#([\w-]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", svg)
    svg = re.sub(r'(href="|url\()#([\w-]+)', rf"\1#{name}-\2", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    head = re.search(r'<svg[^>]*viewBox="([^"]*)"[^>]*>', svg)
    assert head, "matplotlib wrote an <svg> without a viewBox"
    label = escape(title, quote=True)
    return f'<svg class="plot" viewBox="{head[1]}" role="img" aria-label="{label}">' + svg[head.end() :].strip()


def training_curves(curves: Sequence[EpochFigures]) -> str:
    """Loss and accuracy over both phases; the phase boundary and the epoch with the best val_loss are marked."""
    epochs = np.arange(1, len(curves) + 1)
    boundary = sum(1 for figures in curves if figures.phase == "head")
    best = int(np.argmin([figures.val_loss for figures in curves])) if curves else 0

    def draw(figure: Any) -> None:
        loss, accuracy = figure.subplots(1, 2)
        for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
            train = [getattr(figures, name) for figures in curves]
            val = [getattr(figures, f"val_{name}") for figures in curves]
            axes.plot(epochs, train, color=FP32, marker=".", markersize=4, label="train")
            axes.plot(epochs, val, color=INT8, marker=".", markersize=4, label="validation")
            axes.plot(best + 1, val[best], "o", color=INK, markersize=7, fillstyle="none")
            axes.annotate(
                f"best {val[best]:.4f}",
                (best + 1, val[best]),
                xytext=(-4, 9 if name == "loss" else -15),
                textcoords="offset points",
                ha="right" if best > len(curves) / 2 else "left",
                fontsize=8.5,
            )
            if 0 < boundary < len(curves):
                axes.axvline(boundary + 0.5, color=MUTED, linestyle=(0, (4, 3)), linewidth=1)
                for x, side, text in ((boundary + 0.4, "right", "head"), (boundary + 0.65, "left", "fine-tuning")):
                    axes.text(
                        x,
                        1.0,
                        text,
                        ha=side,
                        va="bottom",
                        color=MUTED,
                        fontsize=8,
                        transform=axes.get_xaxis_transform(),
                    )
            axes.set_title(f"{name}\n", loc="left")
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.margins(x=0.04)
        loss.set_ylim(bottom=0)
        accuracy.legend(loc="lower right")

    return drawn("curves", f"Training curves, best epoch {best + 1} of {len(curves)}", (9, 3), draw)


def roc(labels: NDArray[np.bool_], fp32: NDArray[np.float64], int8: NDArray[np.float64]) -> str:
    """ROC curves of both models, whole and the upper left corner. Needs both classes. Scores 0..1 (n,)."""
    curves = [(*roc_points(labels, scores), colour, name) for scores, colour, name in _both(fp32, int8)]

    def draw(figure: Any) -> None:
        whole, corner = figure.subplots(1, 2)
        for axes in (whole, corner):
            for x, y, colour, name in curves:
                axes.plot(x, y, color=colour, label=name, linestyle="-" if name == "FP32" else (0, (4, 2)))
            axes.set_xlabel("false alarms (no_person called person)")
        whole.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":")
        whole.set_ylabel("persons found")
        whole.legend(loc="lower right")
        whole.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), title="ROC")
        corner.set(xlim=(-0.003, 0.15), ylim=(0.8, 1.005), title="its corner")

    return drawn("roc", "ROC curves of the FP32 and the INT8 model", (9, 3.4), draw)


def score_distribution(
    labels: NDArray[np.bool_], fp32: NDArray[np.float64], int8: NDArray[np.float64], threshold: float
) -> str:
    """How many frames of each class got which score: INT8 filled, FP32 as a line; frames on a log scale."""
    edges = np.linspace(0, 1, 41)

    def draw(figure: Any) -> None:
        for axes, truth, name in zip(
            figure.subplots(1, 2, sharey=True), (False, True), ("no_person", "person"), strict=True
        ):
            axes.hist(int8[labels == truth], edges, color=INT8, alpha=0.55, label="INT8")
            axes.hist(fp32[labels == truth], edges, color=FP32, histtype="step", linewidth=1.3, label="FP32")
            axes.axvline(threshold, color=INK, linewidth=1, linestyle=(0, (4, 3)))
            axes.set_yscale("symlog", linthresh=1)
            axes.set_title(f"frames of {name}")
            axes.set_xlabel("score for person")
            axes.set_xlim(0, 1)
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        figure.axes[0].set_ylabel("frames (log)")
        figure.axes[0].legend(loc="upper right")

    return drawn("scores", f"Scores of both classes, threshold {threshold:g}", (9, 2.8), draw)


def layer_ratios(layers: Sequence[LayerError], marked: Sequence[LayerError]) -> str:
    """Signal to noise along the network: of the running model as a line, of each operator alone as points.

    `marked` layers carry their names. Operators that lose nothing have no point, and do not stretch the scale.
    """

    def shown(ratios: Sequence[float]) -> list[float]:
        return [ratio if abs(ratio) < SNR_LIMIT else np.nan for ratio in ratios]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        at = [layer.operator for layer in layers]
        axes.plot(at, shown([layer.snr_db for layer in layers]), color=INT8, label="the running model up to here")
        alone = shown([layer.own_snr_db for layer in layers])
        axes.plot(at, alone, "o", color=FP32, markersize=4, label="this operator alone")
        for rank, layer in enumerate(marked):
            point = (layer.operator, layer.own_snr_db)
            left = layer.operator > 0.7 * max(at)
            axes.plot(*point, "o", color=BAD, markersize=9, fillstyle="none", markeredgewidth=1.6)
            axes.annotate(
                f"{rank + 1}. {layer.name if len(layer.name) <= 28 else layer.name[:27] + '…'}",
                point,
                xytext=(-9 if left else 9, -3),
                textcoords="offset points",
                ha="right" if left else "left",
                color=BAD,
                fontsize=8.5,
                parse_math=False,
                bbox={"facecolor": CARD, "edgecolor": "none", "alpha": 0.8, "pad": 0.6},
            )
        axes.set_ylabel("signal to noise (dB)")
        axes.set_xlabel("operator, in execution order")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.margins(x=0.02, y=0.12)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)

    names = ", ".join(layer.name for layer in marked)
    return drawn("layers", f"Signal to noise of each operator; the worst alone: {names or 'none'}", (9, 3.2), draw)


def pareto(points: Sequence[SweepPoint]) -> str:
    """INT8 accuracy against size, tensor memory and MACs; each panel with its own front, dominated points hollow."""
    panels = (
        ("size_bytes", "INT8 file (kB)", 1e-3),
        ("activation_peak_bytes", "tensor memory (kB)", 1e-3),
        ("macs", "million MACs", 1e-6),
    )
    shown = [point for point in points if point.accuracy_int8 is not None]

    def draw(figure: Any) -> None:
        for axes, (field, label, unit) in zip(figure.subplots(1, 3, sharey=True), panels, strict=True):
            at = [(getattr(point, field) * unit, 100 * (point.accuracy_int8 or 0), point) for point in shown]
            front = staircase([(x, y) for x, y, _ in at])
            axes.plot([x for x, _ in front], [y for _, y in front], color=INT8, linewidth=1.2, drawstyle="steps-post")
            for x, y, point in at:
                axes.plot(x, y, "o", color=INT8, markersize=7, fillstyle="full" if point.on_front else "none")
            for (x, y, point), offset in zip(at, _label_offsets([(x, y) for x, y, _ in at]), strict=True):
                axes.annotate(point.name, (x, y), xytext=offset, textcoords="offset points", ha="center", fontsize=8)
            axes.set_xlabel(label)
            axes.margins(x=0.18, y=0.18)
        figure.axes[0].set_ylabel("INT8 accuracy (%)")

    return drawn("pareto", "Accuracy against size, memory and MACs", (10, 3.6), draw)


def staircase(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (cost, gain) that no cheaper or equally cheap point reaches, by cost."""
    front: list[tuple[float, float]] = []
    for cost, gain in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or gain > front[-1][1]:
            front.append((cost, gain))
    return front


def _label_offsets(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Labels above their points, below where a neighbour to the left is above already."""
    spans = [max(axis) - min(axis) or 1.0 for axis in zip(*points, strict=True)] if points else []
    offsets: list[tuple[float, float]] = []
    for index, (x, y) in enumerate(points):
        near = any(
            abs(x - a) / spans[0] < 0.25 and abs(y - b) / spans[1] < 0.12 and offsets[other][1] > 0
            for other, (a, b) in enumerate(points[:index])
        )
        offsets.append((0.0, -14.0 if near else 8.0))
    return offsets


def _both(fp32: NDArray[np.float64], int8: NDArray[np.float64]) -> tuple[tuple[NDArray[np.float64], str, str], ...]:
    return (fp32, FP32, "FP32"), (int8, INT8, "INT8")
