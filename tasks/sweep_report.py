"""Architectures against each other: which are worth choosing, as a page and as a table."""

from collections.abc import Sequence

from tasks import report_figures as figures
from tasks.lineage import Split, digest_of
from tasks.report import environment, public_url
from tasks.store import Store
from tasks.sweep_point import SweepPoint


def pareto_front(points: Sequence[SweepPoint]) -> tuple[SweepPoint, ...]:
    """The same points in the same order, with `on_front` set where no other point dominates.

    One dominates another that is at least as good in INT8 accuracy, file size, tensor memory and MACs, and better in
    one of them. Equal points are both on the front; a point that was not evaluated never is.
    """
    return tuple(
        point.model_copy(
            update={
                "on_front": point.accuracy_int8 is not None and not any(_dominates(other, point) for other in points)
            }
        )
        for point in points
    )


def _dominates(one: SweepPoint, two: SweepPoint) -> bool:
    if one.accuracy_int8 is None or two.accuracy_int8 is None:
        return False
    ours = (-one.accuracy_int8, one.size_bytes, one.activation_peak_bytes, one.macs)
    theirs = (-two.accuracy_int8, two.size_bytes, two.activation_peak_bytes, two.macs)
    return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))


def render_sweep(points: Sequence[SweepPoint], *, split: Split = "val") -> str:
    """The page: which architectures are on the front, the picture, the table. Raises `ValueError` for no points."""
    from tasks.plots import pareto

    if not points:
        raise ValueError("a sweep has at least one point")
    marked = pareto_front(points)
    return (
        environment()
        .get_template("sweep.html.j2")
        .render(
            title="Sweep of architectures",
            points=marked,
            front=[point for point in marked if point.on_front],
            split=split,
            picture=pareto(marked) if any(p.accuracy_int8 is not None for p in marked) else "",
            rows=[{"point": point, "difference": _difference(point)} for point in _best_first(marked)],
        )
    )


def store_sweep(store: Store, points: Sequence[SweepPoint], *, split: Split = "val") -> tuple[str, str | None]:
    """Renders and stores the page; returns its key, and its URL where the bucket is served to people."""
    name = digest_of([point.model_dump(mode="json", exclude={"on_front"}) for point in points] + [split])
    key = f"models/sweeps/{name}/sweep.html"
    store.put(key, render_sweep(points, split=split).encode(), content_type="text/html; charset=utf-8")
    return key, public_url(store, key)


def sweep_table(points: Sequence[SweepPoint]) -> list[dict[str, str]]:
    """One row an architecture, the most accurate first, ready for a terminal or a table artifact."""
    return [
        {
            "front": "yes" if point.on_front else "",
            "alpha": f"{point.alpha:g}",
            "input": f"{point.width}x{point.height}",
            "INT8 accuracy": figures.percent(point.accuracy_int8),
            "FP32 accuracy": figures.percent(point.accuracy_fp32),
            "INT8 file": figures.size(point.size_bytes),
            "tensor memory": figures.size(point.activation_peak_bytes),
            "million MACs": f"{point.macs / 1e6:.1f}",
        }
        for point in _best_first(pareto_front(points))
    ]


def _best_first(points: Sequence[SweepPoint]) -> list[SweepPoint]:
    return sorted(points, key=lambda p: (p.accuracy_int8 is None, -(p.accuracy_int8 or 0.0), p.size_bytes))


def _difference(point: SweepPoint) -> str:
    if point.accuracy_int8 is None or point.accuracy_fp32 is None:
        return "–"
    return figures.points(point.accuracy_int8 - point.accuracy_fp32)
