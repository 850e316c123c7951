"""Firmware in the report page and the short summary, from hand-made records of images with figures of a real one.

Not touched: the sentences themselves (test_firmware_figures), and how the page looks in a browser.
"""

from dataclasses import replace

import pytest

from deployments.report_server import served_key
from tasks.parameters import BoardLimits
from tasks.report import html_key, markdown_summary, render_report
from tasks.settings import Settings
from tasks.store import Store
from tests.tasks.candidate_records import HOSTILE, FinishedRun, finished_run
from tests.tasks.firmware_records_example import LAYER, SAID, example_image
from tests.tasks.page_checks import checked_page


@pytest.fixture
def passed(store: Store) -> FinishedRun:
    """A model that passed its gate, without images."""
    return finished_run(store)


@pytest.fixture
def proven(passed: FinishedRun) -> FinishedRun:
    """With two images that passed."""
    return replace(passed, firmware=(example_image(int8=passed.int8.digest), example_image("mps3-an547")))


def test_proven_images_are_in_the_verdict_and_have_a_section(store: Store, proven: FinishedRun) -> None:
    page = render_report(store, proven)
    text = checked_page(page).text
    assert "Passed: all 7 rules hold, 2 images proven" in text
    assert "the images for mps2-an386 and mps3-an547 give the same bytes as TFLM on the host" in text
    section = checked_page(page).text[text.index("Board by board") :]
    assert section.index("mps2-an386") < section.index("mps3-an547")
    assert "<details open>" not in page[page.index('id="firmware"') : page.index('id="data"')]


def test_every_figure_of_an_image_is_on_the_page(store: Store, proven: FinishedRun) -> None:
    text = checked_page(render_report(store, proven)).text
    arena = ("55,296", "103,680", "103,696", "141,264", "141,280")  # bound, host twice, target twice
    for figure in (*arena, "410.0 kB", "4,194.3 kB", "167.2 kB", "23.9 kB", "234.36 M", "234.42 M", "9.38 s", "7.33 s"):
        assert figure in text
    assert f"With 16 B less the image refuses to start and says: {SAID}" in text
    for image in proven.firmware:
        assert image.contains
        for digest in (image.digest, image.contains.sources_sha256, image.code_version, *image.files.values()):
            assert digest in text
        for name, value in image.toolchain.items():
            assert f"{name}{value}" in text


def test_the_biggest_contributors_of_every_board_are_listed(store: Store, proven: FinishedRun) -> None:
    page = render_report(store, proven)
    for one in proven.firmware[0].size.contributors[:15]:
        assert page.count(f"<th>{one.name}</th>") == 2
    assert "<th>newlib impure</th>" not in page  # the sixteenth
    assert "and 5 more with" in page


def test_a_refused_image_is_the_headline_and_named_with_its_rule(store: Store, passed: FinishedRun) -> None:
    tight = example_image("mps2-an500", limits=BoardLimits(flash_bytes=400_000))
    run = replace(passed, firmware=(example_image(), tight))
    page = render_report(store, run)
    text = checked_page(page).text
    assert "Refused: 1 of 2 images is not fit to ship" in text
    assert "mps2-an500, flash: the image takes 409,984 B of 400,000 B" in text
    assert "Passed" not in text
    assert "<title>Image refused: " in page
    section = page[page.index('id="firmware"') : page.index('id="data"')]
    assert section.count("<details open>") == 1, "the refused board is unfolded"


def test_frames_that_differ_and_the_layer_are_at_the_top_of_the_section(store: Store, passed: FinishedRun) -> None:
    names = [f"test/frames/2026-01-01/cam/s/{index}.jpg" for index in range(30)]
    run = replace(passed, firmware=(example_image(), example_image("mps3-an547", different=names[:2])))
    section = checked_page(render_report(store, run)).text.split("Firmware\n")[1]
    assert section.index("2 of 19 golden frames give other bytes on mps3-an547") < section.index("tensor arena")
    assert section.index(names[1]) < section.index("tensor arena")
    assert section.index(LAYER) < section.index("tensor arena")
    many = replace(passed, firmware=(example_image(different=names),))
    text = checked_page(render_report(store, many)).text
    assert names[19] in text
    assert names[20] not in text
    assert "and 10 more" in text


def test_hostile_names_of_frames_and_layers_stay_text(store: Store, passed: FinishedRun) -> None:
    run = replace(passed, firmware=(example_image(different=[f"test/{HOSTILE}"], layer=f"operator 3 {HOSTILE}"),))
    page = render_report(store, run)
    assert checked_page(page).text.count(HOSTILE) > 3
    assert HOSTILE not in page
    summary = markdown_summary(run, report_url=None, docs_url=None)
    assert "<script" not in summary
    assert "<img" not in summary


def test_an_image_that_nothing_ran_is_not_called_proven(store: Store, passed: FinishedRun) -> None:
    run = replace(passed, firmware=(example_image("xiao-esp32s3", emulated=False),))
    text = checked_page(render_report(store, run)).text
    assert "proven" not in text.replace("built and not proven", "")
    assert "No emulator runs xiao-esp32s3: the image for xiao-esp32s3 was built and not proven." in text
    assert "not run" in text


def test_limits_and_hysteresis_of_an_image_are_among_the_parameters(store: Store, passed: FinishedRun) -> None:
    run = replace(passed, firmware=(example_image(limits=BoardLimits(ram_bytes=600_000)),))
    text = checked_page(render_report(store, run)).text
    shown = text[text.index("Parameters of every stage") :]
    for parameter in ("image mps2-an386", "threshold0.5", "margin0.1", "leave_frames3", "ram_bytes600,000"):
        assert parameter in shown
    assert "flash_bytes0 (the board's own)" in shown


def test_other_images_of_one_verdict_have_a_page_of_their_own(proven: FinishedRun) -> None:
    runs = (proven, replace(proven, firmware=proven.firmware[:1]), replace(proven, firmware=()))
    assert len({html_key(run) for run in runs}) == 3


def test_every_file_of_an_image_is_linked_where_it_is_served(where: Settings, proven: FinishedRun) -> None:
    public = Store(where.model_copy(update={"public_base_url": "https://reports.example/f2f"}))
    links = checked_page(render_report(public, proven)).links
    for image in proven.firmware:
        for key in (image.key, *(image.folder + name for name in image.files)):
            assert f"https://reports.example/f2f/{key}" in links
            assert served_key(f"/{key}") == key


def test_the_summary_has_a_row_for_every_image(passed: FinishedRun) -> None:
    images = (example_image(), example_image("mps3-an547", different=["synthetic/black|"]))
    text = markdown_summary(replace(passed, firmware=images), report_url=None, docs_url=None)
    assert text.startswith("# Refused: 1 of 2 images is not fit to ship")
    assert "| proven | mps2-an386 | 141,280 (55,296) |" in text
    assert "| **refused** | mps3-an547 |" in text
    assert "| **19, 1 differ** |" in text
    rows = [line for line in text.splitlines() if "an386 |" in line or "an547 |" in line]
    assert [line.count("|") for line in rows] == [8, 8]
