"""The picture of a size report: what fills flash and RAM, against their budgets."""

from collections import Counter
from typing import Any, Literal

from tasks.plots import BAD, GRID, INK, INT8, MUTED, drawn
from tasks.size_report import SizeReport

# The weights have the page's own colour; the others are told apart on white, on dark and on paper.
_GROUPS = {
    "weights": ("weights", INT8),
    "arena": ("arena", "#4f81c7"),
    "stack": ("stack", "#8a6bbf"),
    "tflm kernels": ("TFLM kernels", "#d98032"),
    "nn library": ("NN library", "#b5563f"),
    "tflm core": ("TFLM core", "#c9a227"),
    "rust": ("Rust", "#c25f8d"),
    "c library": ("C library", "#7b8f4b"),
    "compiler runtime": ("compiler runtime", "#5f9e8f"),
    "vectors": ("vectors", "#8c7a6b"),
    "strings": ("strings", "#a08bb0"),
    "other": ("other", "#8b93a0"),
}
_SMALL = 0.001  # of what is used: less has no colour of its own
_COLOURS = 8  # at most so many in one bar, `other` included
_COLUMNS = 4  # of the legend


def memory_bars(report: SizeReport, name: str = "memory") -> str:
    """An inline <svg>: one stacked bar for flash and one for RAM by group, as long as the budget or what is used.

    `name` is unique on the page.
    """
    bars: tuple[tuple[Literal["flash", "ram"], int, int], ...] = (
        ("flash", report.flash_used, report.flash_budget),
        ("ram", report.ram_used, report.ram_budget),
    )

    def draw(figure: Any) -> None:
        figure.get_layout_engine().set(hspace=0.12)
        for axes, (kind, used, budget) in zip(figure.subplots(2, 1), bars, strict=True):
            left, pieces = 0, []
            for group, size in shares(report, kind):
                name, colour = _GROUPS[group]
                pieces.append(axes.barh(0, size, left=left, height=1, color=colour, label=f"{name} {_kb(size)}"))
                left += size
            whole = max(used, budget)
            axes.barh(0, whole, height=1, fill=False, edgecolor=GRID, linewidth=1)
            axes.axvline(budget, color=BAD if used > budget else INK, linewidth=2, clip_on=False)
            axes.set(xlim=(0, whole), ylim=(-0.55, 0.55), xticks=[], yticks=[])
            axes.grid(False)
            axes.spines[:].set_visible(False)
            axes.set_title(_headline(kind, used, budget))
            axes.set_title("line: the budget", loc="right", color=MUTED, fontsize=8.5)
            # Matplotlib fills column by column; the largest shall be read first, row by row.
            rows = [piece for column in range(_COLUMNS) for piece in pieces[column::_COLUMNS]]
            place = {"loc": "upper left", "bbox_to_anchor": (-0.008, 0.02)}
            axes.legend(handles=rows, ncols=_COLUMNS, fontsize=8.5, handlelength=1, columnspacing=2.2, **place)

    return drawn(name, _read_out(bars), (9, 2.9), draw)


def shares(report: SizeReport, kind: Literal["flash", "ram"]) -> list[tuple[str, int]]:
    """Bytes by group, largest first; those without a colour of their own are `other`, last. The sum is what is used."""
    groups: Counter[str] = Counter()
    for one in report.contributors:
        groups[one.group] += one.flash if kind == "flash" else one.ram
    own = [(name, size) for name, size in groups.most_common() if name in _GROUPS and name != "other"]
    shown = [(name, size) for name, size in own if size > _SMALL * groups.total()][: _COLOURS - 1]
    rest = groups.total() - sum(size for _, size in shown)
    return [*shown, ("other", rest)] if rest else shown


def _headline(kind: str, used: int, budget: int) -> str:
    title = {"flash": "Flash", "ram": "RAM"}[kind]
    left = f"{_kb(budget - used)} free" if used <= budget else f"{_kb(used - budget)} over"
    return f"{title}: {_kb(used)} of {_kb(budget)} ({100 * used / budget:.1f} %), {left}"


def _read_out(bars: tuple[tuple[Literal["flash", "ram"], int, int], ...]) -> str:
    return "; ".join(_headline(*bar) for bar in bars)


def _kb(size: int) -> str:
    return f"{size / 1000:,.1f} kB"
