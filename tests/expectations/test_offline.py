"""Pages of Great Expectations made safe: what goes, what stays, what turns into text.

Works on small pieces of HTML; whole Data Docs are in test_checkpoint.py.
"""

import pytest

from expectations.offline import offline


def body(inside: str) -> str:
    return offline(f"<html><body>{inside}</body></html>").split("<body>")[1].split("</body>")[0]


@pytest.mark.parametrize(
    "piece",
    [
        '<a href="../../index.html">Home</a>',
        '<a href="#section-1">Overview</a>',
        '<a href="validations/a/b.html#x">run</a>',
        '<td id="c" class="text-danger">1 &lt; 2</td>',
        '<i class="fas fa-times"></i>',
    ],
)
def test_what_the_pages_are_made_of_stays(piece: str) -> None:
    assert body(piece) == piece


@pytest.mark.parametrize(
    "piece", ["<script>alert(1)</script>", '<script src="https://a.b/c.js"></script>', "<footer><a>x</a></footer>"]
)
def test_scripts_and_the_newsletter_go_with_all_that_is_inside(piece: str) -> None:
    assert body(f"a{piece}b") == "ab"


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "https://a.b", "//a.b", "/etc", "data:text/html,x", " javascript:alert(1)"]
)
def test_a_link_out_of_the_site_is_no_link(link: str) -> None:
    assert body(f'<a href="{link}">x</a>') == "<a>x</a>"


@pytest.mark.parametrize(
    "piece",
    [
        '<img src=x onerror="alert(1)">',
        '<iframe src="https://a.b">',
        "<svg/onload=alert(1)>",
        "<style>*{}",
        "<base href=x>",
    ],
)
def test_foreign_markup_does_not_act(piece: str) -> None:
    written = body(f"<b>{piece}</b>")
    assert "<" not in written.removeprefix("<b>").removesuffix("</b>")


def test_handlers_and_inline_styles_go() -> None:
    assert body('<div onclick="x()" style="background:url(//a.b)">x</div>') == "<div>x</div>"


def test_no_page_has_the_browser_ask_for_an_icon() -> None:
    page = offline('<html><head><link rel="icon" href="https://a.b/c.ico"></head><body><head>x</body></html>')
    assert page.count("<link") == 1
    assert '<head><link rel="icon" href="data:,"></head>' in page


def test_styles_of_the_head_stay_without_what_they_would_fetch() -> None:
    page = offline(
        "<html><head><style>@import 'x'; a > b { background: url('https://a.b/c.png') }</style></head></html>"
    )
    assert "a > b { background: none }" in page
    assert "@import" not in page
