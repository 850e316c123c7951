"""What happens when validation itself breaks, what is stored, and what people get to read.

Fails closed: no crash, no dropped expectation and no missing answer may look like a success. The expectations one by
one are in test_suite_breaks.py. Does not touch the flow that ends as failed (tests/flows).
"""

import json
import pickle
import posixpath
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pytest

from expectations.checkpoint import ValidationCrashed, ValidationFailed, require_valid, run_checkpoint
from expectations.suite import SUITE, SuiteUnusable, load_suite, suite_digest
from tasks.lineage import ValidationOutcome
from tasks.settings import PROJECT
from tasks.store import StoreUnreachable
from tests.expectations.conftest import LIMITS, Made

VALUES = {**LIMITS.model_dump(), "frames": 56}
SESSION = "a session is never in two splits"


def suite_file(folder: Path, *entries: dict[str, Any]) -> Path:
    path = folder / "suite.json"
    path.write_text(json.dumps({"name": "dataset", "expectations": list(entries)}))
    return path


def entry(kind: str, description: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "description": description, "severity": "critical", "kwargs": kwargs}


def pages(made: Made, outcome: ValidationOutcome) -> dict[str, str]:
    """The Data Docs as they lie in the bucket: path below the site -> page."""
    prefix = f"{outcome.docs}/"
    return {found.key.removeprefix(prefix): made.store.get(found.key).decode() for found in made.store.list(prefix)}


def break_a_session(made: Made) -> dict[str, Any]:
    """Lets one session cross; returns the row that strayed."""
    stray = made.of("test")[0]
    stray["session"] = made.of("train")[0]["session"]
    return stray


# -- failing closed ----------------------------------------------------------------------------------------------------


def test_a_custom_class_that_is_not_registered_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from great_expectations.expectations import registry

    import expectations.custom  # noqa: F401

    monkeypatch.delitem(registry._registered_expectations, "expect_packed_frames_to_have_shape")
    with pytest.raises(SuiteUnusable, match="33 expectations, 32 were loaded; lost: expect_packed_frames_to_have_sh"):
        load_suite(SUITE, VALUES)


def test_a_misspelt_expectation_is_noticed(tmp_path: Path) -> None:
    path = suite_file(
        tmp_path,
        entry("expect_column_values_to_be_unique", "unique", column="key"),
        entry("expect_frames_to_smell_nice", "nice"),
    )
    with pytest.raises(SuiteUnusable, match=r"2 expectations, 1 were loaded; lost: expect_frames_to_smell_nice \(nice"):
        load_suite(path, VALUES)


def test_an_argument_that_an_expectation_does_not_have_is_noticed(tmp_path: Path) -> None:
    path = suite_file(tmp_path, entry("expect_column_values_to_be_unique", "unique", column="key", colour="red"))
    with pytest.raises(SuiteUnusable):
        load_suite(path, VALUES)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"name": "x", "expectations": []}', '{"name": "x", "expectations": [{"type": "t"}]}'],
)
def test_a_file_that_is_no_suite_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "suite.json"
    path.write_text(text)
    with pytest.raises(SuiteUnusable):
        load_suite(path, VALUES)


def test_two_expectations_of_one_name_are_refused(tmp_path: Path) -> None:
    path = suite_file(
        tmp_path,
        entry("expect_column_values_to_be_unique", "unique", column="key"),
        entry("expect_column_values_to_be_unique", "unique", column="sha256"),
    )
    with pytest.raises(SuiteUnusable, match="more than once"):
        load_suite(path, VALUES)


def test_a_checkpoint_that_crashes_is_no_success(tmp_path: Path) -> None:
    path = suite_file(
        tmp_path, entry("expect_table_row_count_to_equal", "as many as nobody said", value={"$PARAMETER": "unknown"})
    )
    with pytest.raises(ValidationCrashed, match="unknown"):
        run_checkpoint(pd.DataFrame({"key": ["a"]}), path, {}, Path, tmp_path / "docs")


def test_an_expectation_that_raises_has_failed_with_its_error(made: Made, tmp_path: Path) -> None:
    def no_answer(digest: str) -> Path:
        raise StoreUnreachable(f"no answer for {digest[:4]}")

    found = run_checkpoint(pd.DataFrame(made.rows), SUITE, VALUES, no_answer, tmp_path)
    failed = {one.expectation: one for one in found if not one.success}
    assert failed.keys() == {"expect_packed_frames_to_have_shape", "expect_packed_pixels_to_match_their_hash"}
    assert all("no answer for" in one.error for one in failed.values())


def test_an_error_is_looked_at_again_and_a_finding_is_not(made: Made) -> None:
    def without_device(table: Any) -> Any:
        return table.drop_columns(["device"])

    outcome = made.judge(change=without_device)
    (failed,) = (found for found in outcome.expectations if found.error)
    assert failed.name == "every frame has a device"
    assert "device" in failed.error
    again = made.judge()  # the same data set version, now with a manifest that can be read
    assert again.success
    assert made.judge(change=without_device) == again


def test_an_expectation_whose_column_is_missing_names_the_column(made: Made) -> None:
    outcome = made.judge(change=lambda table: table.drop_columns(["session"]))
    (failed,) = (found for found in outcome.expectations if found.name == SESSION)
    assert failed.error == "the manifest has no column 'session'"


def test_only_a_critical_expectation_stops(made: Made, tmp_path: Path) -> None:
    too_many = entry("expect_table_row_count_to_equal", "as many as wished for", value=1000)
    advice = suite_file(tmp_path, {**too_many, "severity": "warning"})
    outcome = made.judge(suite_file=advice)
    assert outcome.success
    assert [found.success for found in outcome.expectations] == [False]
    require_valid(outcome)
    assert not made.judge(suite_file=suite_file(tmp_path, too_many)).success


# -- what is stored ----------------------------------------------------------------------------------------------------


def test_the_outcome_lies_under_its_key_and_a_rerun_does_no_work(made: Made) -> None:
    outcome = made.judge()
    assert made.store.get_record(outcome.key, ValidationOutcome) == outcome
    index = f"{outcome.docs}/index.html"
    made.store.delete(index)
    assert made.judge() == outcome
    assert not made.store.exists(index)


def test_other_limits_are_another_validation(made: Made) -> None:
    strict = LIMITS.model_copy(update={"min_frames_train": 1000})
    assert made.judge().success
    assert not made.judge(strict).success
    assert made.judge(strict).key != made.judge().key


def test_the_suite_digest_follows_the_file_and_the_code(tmp_path: Path) -> None:
    changed = tmp_path / SUITE.name
    changed.write_text(SUITE.read_text().replace("is never in two", "is not ever in two"))
    assert suite_digest(changed) != suite_digest()
    changed.write_text(SUITE.read_text())
    assert suite_digest(changed) == suite_digest()


# -- what people read --------------------------------------------------------------------------------------------------


def test_a_sound_data_set_goes_on(made: Made) -> None:
    require_valid(made.judge())


def test_a_refusal_names_the_expectation_the_frames_and_the_data_docs(made: Made) -> None:
    stray = break_a_session(made)
    outcome = made.judge()
    with pytest.raises(ValidationFailed) as refused:
        require_valid(outcome, public_base_url="http://127.0.0.1:4280/")
    text = str(refused.value)
    assert f"{SESSION}; found: s00 (test 1, train 4)" in text
    assert stray["key"] in text
    assert f"http://127.0.0.1:4280/{outcome.docs}/index.html" in text
    assert "gray level" not in text
    assert str(pickle.loads(pickle.dumps(refused.value))) == text


def test_data_docs_name_what_failed_and_say_it_in_sentences(made: Made) -> None:
    stray = break_a_session(made)
    site = pages(made, made.judge())
    figures = "".join(page for name, page in site.items() if name.startswith("validations/"))
    for page in (site["index.html"], figures):
        assert SESSION in page
        assert "s00 (test 1, train 4)" in page
        assert stray["key"] in page
        assert "every packed frame is 120 x 160 uint8" in page
    assert "is not fit for training" in site["index.html"]
    assert "raised an exception" not in figures


def test_every_link_of_the_data_docs_leads_to_a_page_of_the_site(made: Made) -> None:
    site = pages(made, made.judge())
    links = [
        (name, link)
        for name, page in site.items()
        for link in re.findall(r"""\b(?:href|src)\s*=\s*["']([^"'#][^"']*)["']""", page)
        if link != "data:,"  # the icon that it does not have
    ]
    assert {name for name, _ in links} == set(site)
    for name, link in links:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(link)))
        assert target in site, f"{name} links to {link}"


def test_data_docs_fetch_nothing_from_elsewhere_and_run_no_script(made: Made) -> None:
    for name, page in pages(made, made.judge()).items():
        assert not re.search(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//|url\(\s*["']?https?:|@import""", page), name
        assert "<script" not in page.lower()
        assert page.split("</head>")[0].count('<link rel="icon" href="data:,">') == 1, name


def test_data_docs_are_served_as_pages(made: Made) -> None:
    outcome = made.judge()
    for name in pages(made, outcome):
        answer = made.store.client.head_object(Bucket=made.store.where.bucket, Key=f"{outcome.docs}/{name}")
        assert answer["ContentType"] == "text/html; charset=utf-8"


def test_what_a_device_sends_is_text_in_the_data_docs(made: Made) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    row = break_a_session(made)
    row["label"] = hostile
    row["key"] = f"frames/{hostile}"
    made.of("train")[0]["session"] = row["session"] = hostile
    made.rows[3]["brightness"] = 0.0
    made.rows[3]["key"] = hostile
    for name, page in pages(made, made.judge()).items():
        assert hostile not in page, name
    assert "&lt;img" in pages(made, made.judge())["index.html"]


def test_a_run_is_silent(made: Made, capfd: pytest.CaptureFixture[str]) -> None:
    made.judge()
    assert capfd.readouterr() == ("", "")


def test_importing_the_checkpoint_does_not_import_great_expectations() -> None:
    code = "import sys, expectations.checkpoint; print({'great_expectations', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
