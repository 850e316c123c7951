"""A channel's line as people see it, from real releases in a real bucket: the picture as a file of its own, the table.

How the Prefect UI shows both is in tests/deployments/test_prefect_ui.py, what moves a channel in test_promotion.py.
"""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tasks.parameters import ComparisonParameters, PromoteParameters
from tasks.promotion import promote, rollback
from tasks.release_line import as_markdown, in_the_field, store_picture
from tasks.settings import Settings
from tasks.signing import make_keys
from tasks.store import Store
from tests.tasks.published import stored_candidate

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def line(s3_endpoint: str, s3_credentials: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three releases and a way back from the third to the second, for a reason that wants to break out of its cell.

    The tests only read it.
    """
    where = Settings(
        _env_file=None,  # type: ignore[call-arg]
        endpoint_url=s3_endpoint,
        bucket="t-line",
        profile="test",
        credentials_file=s3_credentials,
        data_dir=tmp_path_factory.mktemp("line"),
    )
    store = Store(where)
    store.create_bucket()
    make_keys(where)
    anything = ComparisonParameters(max_behind_bound=1, min_slice_accuracy=0)
    for number, mistakes in enumerate((0.1, 0.0, 0.04)):
        candidate = stored_candidate(store, f"v{number}", mistakes=mistakes)
        promoted = promote(store, candidate, PromoteParameters(dry_run=False, compare=anything))
        assert promoted.outcome == "released", promoted.sentence
    rollback(store, 2, "ghosts | in the <b>hall</b>\n| 9 | 9 |")
    return store


def drawn(store: Store) -> ElementTree.Element:
    key = store_picture(store, "stable")
    assert key == "models/lines/stable/accuracy-000004.svg"
    return ElementTree.fromstring(store.get(key))


def test_the_picture_stands_alone(line: Store) -> None:
    root = drawn(line)
    assert root.tag == f"{SVG}svg"
    # What an <img> needs: a size of its own, no style or font or file from elsewhere, and a ground to be dark on.
    assert float(root.attrib["width"]) > 600
    assert float(root.attrib["height"]) > 300
    style = root.attrib["style"]
    assert "background:#ffffff" in style
    text = ElementTree.tostring(root, encoding="unicode")
    assert set(re.findall(r"var\((--\w+)\)", text)) <= set(re.findall(r"(--\w+):", style))
    assert not re.search(r'href="(?!#)|url\((?!#)|@import|<script', text)


def test_the_picture_says_what_is_in_the_field_and_what_was_rolled_back(line: Store) -> None:
    words = ["".join(text.itertext()).strip() for text in drawn(line).iter(f"{SVG}text")]
    assert {"FP32", "INT8, on the device", "rolled back", "in the field: release 2"} <= set(words)
    assert {"1", "2", "3"} <= set(words)
    assert in_the_field(line, "stable") == "release 2 in the field (revision 4)"


def test_no_accuracy_beyond_all_frames_is_on_the_axis(line: Store) -> None:
    words = ["".join(text.itertext()).strip() for text in drawn(line).iter(f"{SVG}text")]
    percents = [float(word) for word in words if re.fullmatch(r"\d+(\.\d+)?", word)]
    assert max(percents) == 100  # release 2 is a frame short of it


def test_the_table_holds_its_reasons(line: Store) -> None:
    text = as_markdown(line, "stable")
    assert text.startswith("# Channel stable: release 2, revision 4\n")
    rows = [
        row for row in text.splitlines() if row.startswith("| ") and not row.startswith(("| release", "| revision"))
    ]
    releases, revisions = rows[:3], rows[3:]
    assert [row.split(" | ")[:2] for row in releases] == [
        ["| 3", "95.67 %"],
        ["| **2**", "99.83 %"],
        ["| 1", "90.83 %"],
    ]
    assert [row.split(" | ")[:3] for row in revisions] == [
        ["| 4", "2", "rollback"],
        ["| 3", "3", "promotion"],
        ["| 2", "2", "promotion"],
        ["| 1", "1", "promotion"],
    ]
    assert r"| ghosts \| in the &lt;b>hall&lt;/b> \| 9 \| 9 \| |" in revisions[0]


def test_only_the_newest_are_listed(line: Store) -> None:
    rows = [row for row in as_markdown(line, "stable", newest=1).splitlines() if re.match(r"\| \**\d", row)]
    assert [row.split(" | ")[:2] for row in rows] == [["| 3", "95.67 %"], ["| 4", "2"]]


def test_an_empty_channel_has_no_picture(store: Store) -> None:
    assert store_picture(store, "stable") is None
    assert as_markdown(store, "stable").startswith("# Channel stable: empty\n")
    assert in_the_field(store, "stable") == "nothing in the field"
