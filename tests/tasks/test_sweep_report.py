"""Which architectures are worth choosing, and the page that says so.

Not touched: training and measuring them (flows), and how the page looks in a browser.
"""

import itertools

import pytest

from tasks.lineage import digest_of
from tasks.store import Store
from tasks.sweep_point import SweepPoint
from tasks.sweep_report import pareto_front, render_sweep, store_sweep, sweep_table
from tests.tasks.page_checks import checked_page


def point(
    alpha: float = 0.35,
    accuracy: float | None = 0.95,
    size: int = 600_000,
    peak: int = 288_000,
    macs: int = 20_000_000,
    width: int = 160,
) -> SweepPoint:
    name = [alpha, accuracy, size, peak, macs, width]
    return SweepPoint(
        alpha=alpha,
        width=width,
        height=width * 3 // 4,
        trained=digest_of([*name, "trained"]),
        int8=digest_of([*name, "int8"]),
        report=None if accuracy is None else digest_of([*name, "report"]),
        accuracy_fp32=None if accuracy is None else accuracy + 0.002,
        accuracy_int8=accuracy,
        size_bytes=size,
        activation_peak_bytes=peak,
        macs=macs,
    )


def front(*points: SweepPoint) -> list[bool]:
    return [p.on_front for p in pareto_front(points)]


def test_a_larger_and_worse_model_is_not_on_the_front() -> None:
    assert front(point(), point(accuracy=0.94, size=700_000)) == [True, False]


def test_more_accuracy_for_more_bytes_is_a_choice() -> None:
    assert front(point(), point(accuracy=0.97, size=900_000)) == [True, True]


def test_less_memory_or_fewer_macs_keep_a_less_accurate_model_on_the_front() -> None:
    assert front(point(), point(accuracy=0.9, peak=100_000)) == [True, True]
    assert front(point(), point(accuracy=0.9, macs=1)) == [True, True]


def test_equal_points_are_both_on_the_front() -> None:
    assert front(point(), point()) == [True, True]


def test_a_model_that_was_not_evaluated_is_never_on_the_front() -> None:
    assert front(point(), point(accuracy=None, size=1, peak=1, macs=1)) == [True, False]


def test_the_front_does_not_depend_on_the_order() -> None:
    points = [
        point(),
        point(accuracy=0.97, size=900_000),
        point(accuracy=0.94, size=700_000),
        point(accuracy=0.9, macs=5),
    ]
    expected = {p.int8: p.on_front for p in pareto_front(points)}
    for shuffled in itertools.permutations(points):
        assert {p.int8: p.on_front for p in pareto_front(shuffled)} == expected


def test_the_page_names_the_front_and_every_digest() -> None:
    points = [point(), point(alpha=0.5, accuracy=0.97, size=900_000), point(alpha=0.75, accuracy=None)]
    page = checked_page(render_sweep(points))
    assert "2 of 3 architectures are worth choosing" in page.text
    assert "not fit for the device" in page.text
    assert "Judged on the val split" in page.text
    for p in points:
        assert p.trained in page.text
        assert p.int8 in page.text


def test_a_sweep_of_which_nothing_could_be_evaluated_has_a_page() -> None:
    text = checked_page(render_sweep([point(accuracy=None)])).text
    assert "No model of this sweep could be evaluated" in text


def test_a_sweep_without_points_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one point"):
        render_sweep([])


def test_the_table_starts_with_the_most_accurate() -> None:
    rows = sweep_table([point(), point(alpha=0.5, accuracy=0.97, size=900_000), point(alpha=1.0, accuracy=None)])
    assert [row["alpha"] for row in rows] == ["0.5", "0.35", "1"]
    assert rows[0]["front"] == "yes"
    assert rows[2]["INT8 accuracy"] == "–"


def test_the_page_is_stored_by_what_it_shows(store: Store) -> None:
    points = [point(), point(alpha=0.5, accuracy=0.97, size=900_000)]
    key, url = store_sweep(store, points)
    assert url is None
    assert store.get(key).decode() == render_sweep(points)
    assert store_sweep(store, pareto_front(points))[0] == key  # marking the front changes nothing
    assert store_sweep(store, points[:1])[0] != key
