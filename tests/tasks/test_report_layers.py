"""The report's section on lost precision, and its lines in the short summary, from hand-made records.

Not touched: how the figures come about (test_layer_error), and how the picture looks (judged by eye).
"""

from dataclasses import replace
from typing import Any

from tasks.candidates import FinishedRun
from tasks.layer_error import layer_sentence, percent_text, worst_layers
from tasks.layer_figures import decibels, layer_basis
from tasks.lineage import LayerError
from tasks.report import markdown_summary, render_report
from tasks.store import Store
from tests.tasks.candidate_records import HOSTILE, finished_run
from tests.tasks.page_checks import checked_page


def with_report(run: FinishedRun, **changes: Any) -> FinishedRun:
    assert run.report
    return replace(run, report=run.report.model_copy(update=changes))


def test_the_ten_worst_layers_are_on_the_page_worst_first_and_the_first_three_in_words(store: Store) -> None:
    run = finished_run(store)
    assert run.report
    page = render_report(store, run)
    text = checked_page(page[: page.index('<section id="model">')] + "</main></body></html>").text
    section = text[text.index("Where precision is lost") :]
    assert "The output of 40 operators" in section
    assert "on 16 of these frames. 1 more has no counterpart in FP32 and is left out." in section
    worst = worst_layers(run.report, 11)
    assert [layer.operator for layer in worst[:2]] == [13, 12]
    places = [section.index(layer_sentence(layer)) for layer in worst[:3]]
    assert places == sorted(places)
    assert layer_sentence(worst[3]) not in section
    table = section[section.index("outside the range") :]
    places = [table.index(layer.name) for layer in worst[:10]]
    assert places == sorted(places)
    assert worst[10].name not in table
    assert f"block_12_projectCONV_2D 12{worst[1].own_snr_db:.1f}67 %" in table.replace("\n", "")
    assert HOSTILE in table  # as text
    assert "<script" not in page


def test_a_report_without_layers_has_no_such_section(store: Store) -> None:
    old = with_report(finished_run(store), layers=(), layers_left_out=0)
    assert "Where precision is lost" not in checked_page(render_report(store, old)).text
    assert "lose most by themselves" not in markdown_summary(old, report_url=None, docs_url=None)
    unfit = finished_run(store, clean=False)
    assert "Where precision is lost" not in checked_page(render_report(store, unfit)).text


def test_a_model_that_loses_nothing_says_so(store: Store) -> None:
    exact = LayerError(
        operator=0, op="RESHAPE", name="flat", snr_db=120.0, own_snr_db=120.0, drop_db=None, saturated=0.0
    )
    run = with_report(finished_run(store), layers=(exact,), layers_left_out=0)
    assert run.report
    assert "No operator loses anything." in checked_page(render_report(store, run)).text
    assert layer_basis(run.report) == (
        "The output of 1 operator of the INT8 model against FP32, on 16 of these frames."
    )


def test_the_summary_names_the_three_worst_without_becoming_markup(store: Store) -> None:
    run = finished_run(store)
    lines = markdown_summary(run, report_url=None, docs_url=None).splitlines()
    at = lines.index("The layers that lose most by themselves:")
    assert [line[:12] for line in lines[at + 2 : at + 6]] == ["1. block_13&", "2. block_12_", "3. block_38_", ""]
    assert "<script" not in "".join(lines)


def test_figures_are_written_for_people() -> None:
    assert [decibels(value) for value in (None, 120.0, -120.0, 28.46)] == ["–", "exact", "no signal", "28.5"]
    fractions = (0.0, 1e-7, 0.00065, 0.042, 0.0997, 0.41, 1.0, 10.0)
    shown = ["0 %", "under 0.001 %", "0.065 %", "4.2 %", "10 %", "41 %", "100 %", "1,000 %"]
    assert [percent_text(value) for value in fractions] == shown
