"""The report page and the short summary, rendered from hand-made records with a real scores blob in a real bucket.

Not touched: how figures come about (test_metrics, test_degradation, test_gate), firmware (test_report_firmware), and
how the page looks in a browser.
"""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.lineage import Int8Model, TrainedModel
from tasks.parameters import GateLimits
from tasks.report import html_key, markdown_summary, public_url, render_report, store_report
from tasks.report_figures import training_sentence
from tasks.settings import Settings
from tasks.store import DigestMismatch, Store
from tests.tasks.candidate_records import HOSTILE, FinishedRun, finished_run
from tests.tasks.page_checks import checked_page


@pytest.fixture
def passed(store: Store) -> FinishedRun:
    return finished_run(store)


def page_of(store: Store, run: FinishedRun) -> str:
    return render_report(store, run)


def test_a_passed_candidate_says_so_first(store: Store, passed: FinishedRun) -> None:
    assert passed.verdict.passed, "the records are made to pass"
    text = checked_page(page_of(store, passed)).text
    assert text.index("Passed: all 7 rules hold") < text.index("The rules") < text.index("Data set")
    assert "No board was asked for, so there is no firmware." in text
    assert "Rejected" not in text


def test_a_rejected_candidate_names_every_broken_rule(store: Store) -> None:
    run = finished_run(store, frames=120, mistakes=0.3)
    text = checked_page(page_of(store, run)).text
    broken = [rule for rule in run.verdict.rules if not rule.passed]
    assert len(broken) >= 3
    assert f"Rejected: {len(broken)} of 7 rules do not hold" in text
    for rule in broken:
        assert rule.reason in text
    assert "too few to decide" in text


def test_every_rule_has_figure_limit_and_bar(store: Store, passed: FinishedRun) -> None:
    page = page_of(store, passed)
    rules = page[page.index('id="rules"') : page.index('id="figures"')]
    assert rules.count("<tr class=") == len(passed.verdict.rules)
    assert rules.count('class="bar"') == len(passed.verdict.rules) - 1  # fit for the device is yes or no
    for text in ("600", "299", "90.00 %", "85.00 %", "0.50 pt", "1.00 pt", "979.6 kB", "1,500.0 kB"):
        assert text in rules


def test_every_digest_of_the_lineage_is_on_the_page(store: Store, passed: FinishedRun) -> None:
    text = checked_page(page_of(store, passed)).text
    assert passed.report
    records = (passed.dataset, passed.validation, passed.trained, passed.int8, passed.report, passed.verdict)
    blobs = (
        passed.dataset.manifest,
        passed.trained.model,
        passed.int8.tflite,
        passed.int8.fp32_tflite,
        passed.report.scores,
    )
    for digest in (*(record.digest for record in records), *blobs, passed.dataset.parent):
        assert digest
        assert digest in text


def test_both_models_are_shown_side_by_side(store: Store, passed: FinishedRun) -> None:
    assert passed.report
    text = checked_page(page_of(store, passed)).text
    for metrics in (passed.report.fp32, passed.report.quantized):
        assert f"{100 * metrics.accuracy:.2f} %" in text
        for count in (*metrics.confusion[0], *metrics.confusion[1]):
            assert f"{count}{100 * count / 300:.2f} %" in text  # 300 frames of each class
    loss = passed.report.degradation
    assert f"INT8 lost {loss.lost} frame" in text
    assert f"at most {100 * loss.bound:.2f} points" in text


def test_devices_come_worst_first(store: Store, passed: FinishedRun) -> None:
    assert passed.report
    page = page_of(store, passed)
    shown = re.findall(r'<th class="name">(.*?)</th>', page[page.index('id="slices"') :])
    worst = sorted(passed.report.slices, key=lambda s: (s.int8.accuracy, s.name))
    assert [name.startswith("&lt;script") for name in shown[:3]] == [s.name == HOSTILE for s in worst]


def test_a_hostile_device_name_stays_text(store: Store, passed: FinishedRun) -> None:
    page = page_of(store, passed)
    assert HOSTILE in checked_page(page).text  # as text, in full
    assert HOSTILE not in page
    assert "<script" not in page
    assert "<img src=x" not in page


def test_a_hostile_key_stays_inside_its_attribute(store: Store) -> None:
    run = finished_run(store, devices=('"><b onmouseover="x()">', "b"), mistakes=0.2)
    page = checked_page(page_of(store, run))
    assert '"><b onmouseover="x()">' in page.text


def test_the_worst_mistakes_are_shown_as_pictures_of_their_frames(store: Store, passed: FinishedRun) -> None:
    assert passed.report
    page = checked_page(page_of(store, passed))
    wrong = passed.report.quantized.confusion[0][1] + passed.report.quantized.confusion[1][0]
    pictures = [url for url in page.loads if url.startswith("data:image/jpeg;base64,")]
    flips = passed.report.degradation.lost + passed.report.degradation.gained
    assert len(pictures) == min(18, wrong) + min(18, flips)
    assert f"INT8 has {wrong} of 600 frames wrong" in page.text


def test_a_model_without_a_mistake_says_so(store: Store) -> None:
    run = finished_run(store, mistakes=0.0)
    assert run.report
    text = checked_page(page_of(store, run)).text
    assert "INT8 lost 1 frame that" in text
    assert "INT8 has 1 of 600 frames wrong" in text  # the flip that the records have


def test_one_class_only_has_no_roc_curve(store: Store) -> None:
    text = checked_page(page_of(store, finished_run(store, classes=(1,)))).text
    assert "No ROC curve: the frames are of one class." in text


def test_a_model_that_could_not_be_evaluated_shows_its_offenders(store: Store) -> None:
    run = finished_run(store, clean=False)
    page = page_of(store, run)
    text = checked_page(page).text
    assert "Rejected" in text
    assert "tf.sin has no INT8 kernel" in text
    assert "replace it by an op that has one" in text
    assert "model/<b>sin</b>" in text
    assert 'id="figures"' not in page
    for record in (run.dataset, run.trained, run.int8, run.verdict):
        assert record.digest in text


def test_a_training_without_epochs_still_has_a_page(store: Store, passed: FinishedRun) -> None:
    untrained = TrainedModel.model_validate({**passed.trained.model_dump(), "curves": ()})
    page = render_report(store, replace(passed, trained=untrained))
    assert "No epoch was trained" in checked_page(page).text


def test_equal_records_give_equal_pages(store: Store, passed: FinishedRun) -> None:
    assert page_of(store, passed) == page_of(store, passed)


def test_a_page_stays_small(store: Store) -> None:
    run = finished_run(store, frames=1500, mistakes=0.1)
    assert len(page_of(store, run).encode()) < 1_500_000


def test_many_offenders_are_cut_short(store: Store) -> None:
    run = finished_run(store, clean=False)
    many = Int8Model.model_validate({**run.int8.model_dump(), "offenders": run.int8.offenders * 300})
    text = checked_page(render_report(store, replace(run, int8=many))).text
    assert "and 250 more" in text


def test_pixels_that_were_replaced_are_refused(store: Store, passed: FinishedRun) -> None:
    shard = passed.dataset.shards[0]
    store.put(f"blobs/{shard}", b"other bytes")
    (store.where.cache_dir / "blobs" / shard[:2] / shard).unlink()
    with pytest.raises(DigestMismatch):
        page_of(store, passed)


def test_the_stored_page_is_the_rendered_one(store: Store, passed: FinishedRun) -> None:
    key, url = store_report(store, passed)
    assert url is None  # no public base URL is set
    assert store.get(key).decode() == page_of(store, passed)
    head = store.client.head_object(Bucket=store.where.bucket, Key=key)
    assert head["ContentType"] == "text/html; charset=utf-8"


def test_two_verdicts_on_one_report_have_two_pages(store: Store, passed: FinishedRun) -> None:
    stricter = finished_run(store, limits=GateLimits(min_accuracy=0.999))
    assert stricter.report == passed.report
    assert html_key(passed) != html_key(stricter)


def test_links_lead_below_the_public_base_url(where: Settings, store: Store, passed: FinishedRun) -> None:
    public = Store(where.model_copy(update={"public_base_url": "https://reports.example/f2f/"}))
    key, url = store_report(public, passed)
    assert url == f"https://reports.example/f2f/{key}"
    links = checked_page(store.get(key).decode()).links
    assert f"https://reports.example/f2f/{passed.validation.docs}/index.html" in links
    served = ("https://reports.example/f2f/models/", "https://reports.example/f2f/datasets/")
    assert all(link.startswith(served) for link in links)  # blobs are not served to people


@pytest.mark.parametrize("base", ["javascript:alert(1)//", "ftp://x", None])
def test_only_web_addresses_become_links(where: Settings, base: str | None) -> None:
    assert public_url(Store(where.model_copy(update={"public_base_url": base})), "a/b.html") is None


def test_the_summary_has_verdict_figures_and_links(passed: FinishedRun) -> None:
    text = markdown_summary(passed, report_url="https://r.example/x", docs_url=None)
    assert text.startswith("# Passed")
    assert "[Report](https://r.example/x)" in text
    assert "Data Docs" not in text
    assert text.count("\n| ok |") == 7
    assert passed.int8.digest[:12] in text
    assert "| board |" not in text


def test_a_summary_without_evaluation_has_the_reasons(store: Store) -> None:
    run = finished_run(store, clean=False)
    text = markdown_summary(run, report_url=None, docs_url=None)
    assert text.startswith("# Rejected")
    assert "float_op SIN" in text


def test_one_epoch_is_no_epochs(passed: FinishedRun) -> None:
    head = [epoch for epoch in passed.trained.curves if epoch.phase == "head"]
    for count, said in ((1, " 1 epoch of the head"), (4, " 4 epochs of the head")):
        trained = passed.trained.model_copy(update={"curves": tuple(head[:count])})
        assert said in training_sentence(trained)


def test_a_page_has_the_browser_ask_for_no_icon(store: Store, passed: FinishedRun) -> None:
    assert page_of(store, passed).split("</head>")[0].count('<link rel="icon" href="data:,">') == 1


def test_no_template_loads_anything_by_itself() -> None:
    import tasks.report

    for template in Path(tasks.report.__file__).parent.glob("*.j2"):
        assert not re.search(r"https?://", template.read_text()), template.name
