"""The pictures of the report: SVG that belongs into a page and follows its colours.

Not touched: what they look like; that was judged by eye.
"""

import re
from pathlib import Path

import numpy as np
import pytest

from tasks.plots import layer_ratios, pareto, roc, score_distribution, staircase, training_curves
from tasks.sweep_point import SweepPoint
from tests.tasks.candidate_records import HOSTILE, layers
from tests.tasks.page_checks import Page
from tests.tasks.test_sweep_report import point


@pytest.fixture(scope="module")
def scores() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    labels = np.arange(300) % 2 == 1
    fp32 = np.clip(labels * 0.6 + rng.normal(0.2, 0.2, 300), 0, 1)
    return labels, fp32, np.round(fp32 * 255) / 255


def checked_svg(svg: str) -> None:
    Page(svg)
    assert svg.startswith('<svg class="plot" viewBox=')
    assert "aria-label=" in svg
    assert "http" not in svg
    assert "<script" not in svg
    for target in re.findall(r"#([\w-]+)", re.sub(r"#[0-9a-f]{6}\b", "", svg)):
        assert f'id="{target}"' in svg, f"#{target} refers to nothing"


def test_every_picture_is_svg_for_a_page(scores: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    from tests.tasks.candidate_records import curves

    charts = (roc(*scores), score_distribution(*scores, 0.5), pareto([point()]))
    pictures = (training_curves(curves()), *charts, layer_ratios(layers(), layers()[14:17]))
    for svg in pictures:
        checked_svg(svg)
    together = "".join(pictures)
    Page(f"<div>{together}</div>")  # no id occurs in two pictures


def test_colours_are_the_pages_own(scores: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    for svg in (roc(*scores), score_distribution(*scores, 0.5)):
        assert "var(--int8)" in svg
        assert "var(--fp32)" in svg
        fixed = set(re.findall(r"#[0-9a-f]{6}\b", svg))
        assert not fixed, f"colours that do not follow the page: {fixed}"


def test_colours_that_pictures_use_exist_on_the_page(scores: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    import tasks.plots

    page = (Path(tasks.plots.__file__).parent / "page.html.j2").read_text()
    drawn = roc(*scores) + pareto([point()]) + layer_ratios(layers(), layers()[:1])
    for variable in set(re.findall(r"var\((--[a-z0-9]+)\)", drawn)):
        assert page.count(f"{variable}: ") == 3, f"{variable} needs a light, a dark and a printed value"


def test_the_best_epoch_and_the_phases_are_marked() -> None:
    from tests.tasks.candidate_records import curves

    svg = training_curves(curves())
    assert "best epoch 10 of 12" in svg
    assert ">head<" in svg
    assert ">fine-tuning<" in svg


def test_marked_layers_are_named_and_an_exact_one_does_not_stretch_the_scale() -> None:
    svg = layer_ratios(layers(), [layers()[13], layers()[12]])
    page = Page(svg)
    assert "1. block_13<script" in page.text  # as text, cut to a length that fits
    assert "2. block_12_project" in page.text
    assert HOSTILE not in page.text
    assert "3. " not in page.text
    ticks = [float(text) for text in re.findall(r">(\d+)</text>", svg)]
    assert max(ticks) <= 60  # operator 20 has 120 dB


def test_layers_that_lose_nothing_are_drawn_without_a_mark() -> None:
    exact = [layer.model_copy(update={"own_snr_db": 120.0, "snr_db": 120.0}) for layer in layers()[:1]]
    checked_svg(layer_ratios(exact, []))


def test_one_phase_has_no_boundary() -> None:
    from tests.tasks.candidate_records import curves

    assert "fine-tuning" not in training_curves([e for e in curves() if e.phase == "fine_tune"])


def test_equal_input_gives_equal_bytes(scores: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    assert roc(*scores) == roc(*scores)


def test_the_front_keeps_only_gains() -> None:
    points = [(3.0, 0.9), (1.0, 0.8), (2.0, 0.7), (2.0, 0.85), (4.0, 0.9), (1.0, 0.5)]
    assert staircase(points) == [(1.0, 0.8), (2.0, 0.85), (3.0, 0.9)]


def test_hostile_text_in_a_picture_stays_text() -> None:
    from tasks.plots import drawn

    svg = drawn("x", '<b>"&', (2, 1), lambda figure: figure.text(0, 0, "<script>alert(1)</script>"))
    page = Page(svg)
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.text


def test_a_point_that_was_not_evaluated_is_not_drawn() -> None:
    blind = SweepPoint.model_validate({**point(alpha=0.75).model_dump(), "accuracy_int8": None, "report": None})
    svg = pareto([point(), blind])
    assert point().name in svg
    assert blind.name not in svg
