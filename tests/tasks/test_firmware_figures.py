"""Figures and sentences about firmware images, from hand-made records. Not touched: how a page shows them (test_report)
and how the figures come about.
"""

import pytest

from tasks.firmware_figures import (
    arena_sentence,
    board_row,
    difference,
    firmware_cards,
    firmware_markdown,
    firmware_table,
    golden_sentences,
    image_parameters,
)
from tasks.firmware_records import FirmwareImage
from tasks.firmware_view import NAMED, board_view
from tasks.lineage import Verdict
from tasks.parameters import BoardLimits, GateLimits
from tasks.report_figures import outcome, passed_sentence
from tests.tasks.firmware_records_example import ARENA, LAYER, example_image

PROVEN = example_image()
TIGHT = example_image(limits=BoardLimits(flash_bytes=400_000))
DIFFERENT = example_image(different=["synthetic/noise"])
NOT_RUN = example_image("xiao-esp32s3", emulated=False)


def changed(image: FirmwareImage, part: str, **fields: object) -> FirmwareImage:
    return image.model_copy(update={part: getattr(image, part).model_copy(update=fields)})


def verdict(*, passed: bool) -> Verdict:
    return Verdict(report="r", int8="i", limits=GateLimits(), rules=(), passed=passed)


def test_a_run_is_passed_only_where_gate_and_all_images_are() -> None:
    assert outcome(verdict(passed=True), ()) == "Passed"
    assert outcome(verdict(passed=True), (PROVEN,)) == "Passed"
    assert outcome(verdict(passed=True), (PROVEN, TIGHT)) == "Image refused"
    assert outcome(verdict(passed=False), ()) == "Rejected"


@pytest.mark.parametrize(
    ("image", "state"), [(PROVEN, "proven"), (TIGHT, "refused"), (DIFFERENT, "refused"), (NOT_RUN, "not run")]
)
def test_an_image_is_proven_only_where_it_ran_and_holds_every_rule(image: FirmwareImage, state: str) -> None:
    row = board_row(image)
    assert (row.state, row.passed) == (state, state != "refused")


def test_a_figure_that_nobody_measured_is_a_dash() -> None:
    row = board_row(NOT_RUN)
    assert {row.target_own, row.measured, row.stack, row.median, row.most, row.seconds, row.compared} == {"–"}
    assert (row.bound, row.host_smallest, row.reserved) == ("55,296", "103,696", "141,280")
    assert row.engine == "registry tfmicro 0.1.0", "nobody asked the image, so what was given is shown"


def test_a_bar_never_leaves_its_track() -> None:
    row = board_row(TIGHT)
    assert (row.flash_share, row.flash_fits, row.ram_fits) == (100.0, False, True)
    assert board_row(changed(PROVEN, "size", ram_budget=0)).ram_share == 100.0


def test_times_are_written_in_the_unit_that_fits() -> None:
    assert board_row(PROVEN).time == "9.38 s at 25 MHz"
    assert board_row(changed(PROVEN, "timing", seconds=0.0421)).seconds == "42.1 ms"


def test_the_frames_that_were_compared_are_counted_by_kind() -> None:
    first, second = golden_sentences(PROVEN)
    assert first == "19 golden frames: 1 black, 1 white, 1 noise, 1 gradient, 1 checkerboard, 14 hardest."
    assert second.startswith("Every output byte was compared with TFLM (tflite-micro")
    assert second.endswith("and with TFLite's reference kernels (ai-edge-litert 2.3.0).")


def test_a_comparison_of_fewer_frames_says_so() -> None:
    assert "2.3.0) on 8 of them." in golden_sentences(changed(PROVEN, "outcome", compared_with_reference=8))[1]
    refused = changed(PROVEN, "outcome", compared_with_reference=0, reference="refused: no such op")
    assert golden_sentences(refused)[1].endswith("and with no reference kernels (refused: no such op).")
    assert "no golden frame was run" in golden_sentences(NOT_RUN)[0]


def test_a_difference_names_board_frames_and_layer() -> None:
    assert difference(PROVEN) == difference(NOT_RUN) == ""
    assert difference(DIFFERENT) == (
        f"1 of 19 golden frames gives other bytes on mps2-an386 than on the host. The first differing layer is {LAYER}."
    )


def test_names_of_frames_that_differ_end_somewhere() -> None:
    names = [f"folder/{index}.png" for index in range(NAMED + 3)]
    assert board_view(example_image(different=names), lambda _: None).different == [*names[:NAMED], "and 3 more"]
    assert board_view(example_image(different=names[:NAMED]), lambda _: None).different == names[:NAMED]


def test_the_reserved_arena_is_called_smallest_only_where_it_is() -> None:
    assert "141,280 B, the smallest arena that works on the target" in arena_sentence(PROVEN)
    given = arena_sentence(changed(PROVEN, "arena", reserved=ARENA + 1024))
    assert "reserves 142,304 B; the smallest arena that works on the target was measured as 141,280 B" in given
    assert "nobody could measure" in arena_sentence(NOT_RUN)


def test_a_table_has_one_row_a_board_with_the_same_columns() -> None:
    rows = firmware_table([PROVEN, TIGHT, DIFFERENT, NOT_RUN])
    assert [row["board"] for row in rows] == ["mps2-an386"] * 3 + ["xiao-esp32s3"]
    assert [row["image"] for row in rows] == ["proven", "refused", "refused", "not run"]
    assert len({tuple(row) for row in rows}) == 1
    assert all(isinstance(value, str) for row in rows for value in row.values())


def test_a_table_for_a_narrow_page_says_what_is_the_same_for_all_boards_once() -> None:
    *table, blank, notes = firmware_markdown([PROVEN, TIGHT, DIFFERENT, NOT_RUN])
    assert len({line.count("|") for line in table}) == 1
    assert table[2] == (
        "| proven | mps2-an386 | 141,280 (55,296) | 410.0 kB (10 %) | 167.2 kB (4 %) | 9.38 s | 19, all the same |"
    )
    assert "| **410.0 kB, above its budget** |" in table[3]
    assert "| **19, 1 differ** |" in table[4]
    assert blank == ""
    assert "234.42 M instructions on mps2-an386 at 25 MHz" in notes
    assert "registry tfmicro 0.1.0 (xiao-esp32s3)" in notes
    alone = firmware_markdown([PROVEN])[-1]
    assert alone.endswith("Engine: registry, reference kernels.")
    assert "Estimated" not in firmware_markdown([NOT_RUN])[-1]


def test_a_run_without_boards_claims_no_image() -> None:
    assert passed_sentence(()) == "every rule of the gate holds"
    assert passed_sentence((PROVEN,)) == "every rule of the gate holds, every image is proven"
    assert "every image that an emulator runs is proven" in passed_sentence((PROVEN, NOT_RUN))


def test_cards_show_what_fits_a_device() -> None:
    figures = {card["name"]: (card["figure"], card["note"]) for card in firmware_cards(PROVEN)}
    assert figures["tensor arena"] == ("141.3 kB", "2.55 times its lower bound")
    assert figures["flash"] == ("410.0 kB", "9.77 % of its budget")
    assert "an inference" not in {card["name"] for card in firmware_cards(NOT_RUN)}


def test_a_limit_of_zero_is_the_boards_own() -> None:
    shown = image_parameters(TIGHT)
    assert (shown["flash_bytes"], shown["ram_bytes"]) == ("400,000", "0 (the board's own)")
    assert (shown["margin"], shown["stale_after_ms"]) == ("0.1", "2000")


def test_every_file_is_listed_also_one_without_a_description() -> None:
    more = PROVEN.model_copy(update={"files": {**PROVEN.files, "new.txt": PROVEN.golden}})
    files = board_view(more, lambda key: f"https://x/{key}").files
    assert {file.name: file.sha256 for file in files} == more.files
    assert files[0].name == "firmware.elf"
    assert all(file.url == f"https://x/{more.folder}{file.name}" for file in files)
    assert [file.url for file in board_view(more, lambda _: None).files] == [None] * len(files)


def test_pictures_of_two_boards_share_no_id() -> None:
    one, two = (board_view(example_image(board), lambda _: None).picture for board in ("mps2-an386", "mps2-an500"))
    assert 'id="memory-mps2-an386' in one
    assert "mps2-an386" not in two
