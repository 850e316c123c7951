"""The picture of a model line: accuracy of every release of a channel, and which one is in the field."""

import itertools
from collections.abc import Sequence
from typing import Any

from tasks.plots import BAD, FP32, INK, INT8, drawn
from tasks.release_records import Channel, Release

# On its own, and not in a page that sets them: readable on light and dark backgrounds because it brings its own.
_COLOURS = (
    "--ink:#18212f;--muted:#566174;--line:#e1e5eb;--fp32:#6b7a90;--int8:#0c7b74;--bad:#b3261e;"
    "background:#ffffff;font-family:system-ui,sans-serif"
)

SIZE = (7.0, 3.7)  # inches; the UI scales it down to some 600 pixels


def accuracy_over_releases(line: Sequence[Release], fp32: Sequence[float], history: Sequence[Channel]) -> str:
    """A standalone <svg>. `line`: releases in order, at least one; `fp32`: their FP32 accuracies (0..1);
    `history`: the channel's revisions, oldest first."""
    numbers = [release.number for release in line]
    accuracies = {release.number: 100 * release.accuracy for release in line}
    held = history[-1].release if history else None
    left = sorted({a.release for a, b in itertools.pairwise(history) if b.kind == "rollback"} & set(numbers))

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot(numbers, [100 * value for value in fp32], "o--", color=FP32, markersize=4, linewidth=1, label="FP32")
        axes.plot(numbers, list(accuracies.values()), "o-", color=INT8, markersize=7, label="INT8, on the device")
        if left:
            marks = [accuracies[number] for number in left]
            axes.plot(left, marks, "x", color=BAD, markersize=11, markeredgewidth=2.2, label="rolled back")
        if held in accuracies:
            axes.plot(
                held, accuracies[held], "o", color=INK, markersize=15, fillstyle="none", markeredgewidth=1.6,
                label=f"in the field: release {held}",
            )  # fmt: skip
        axes.set_xlabel("release")
        axes.set_ylabel("accuracy on its test frames (%)")
        axes.set_xticks(numbers if len(numbers) <= 20 else numbers[:: len(numbers) // 10])
        axes.margins(x=0.08, y=0.25)
        low, high = axes.get_ylim()
        if high > 100:  # room for the marks, but no ticks where there is nothing to reach
            ticks = [tick for tick in axes.get_yticks() if low <= tick <= 100]
            axes.set_yticks(ticks)
            axes.set_ylim(low, 100 + 0.12 * (100 - low))
        figure.legend(loc="outside upper left", ncols=4)

    svg = drawn("releases", "Accuracy over releases", SIZE, draw)
    # As the source of an <img> it needs a size of its own: without one browsers take 300 x 150.
    pixels = 'width="{:.0f}" height="{:.0f}"'.format(*(144 * inches for inches in SIZE))
    return svg.replace("<svg", f'<svg xmlns="http://www.w3.org/2000/svg" {pixels} style="{_COLOURS}"', 1)
