"""What must hold for every page that people open: well-formed, and nothing is loaded from anywhere."""

import re
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link", "input", "hr"}
LOADS = {"src", "srcset", "data", "poster", "action", "background", "formaction", "ping"}


class Page(HTMLParser):
    """Parses strictly: every element is closed where it must be, in order; ids occur once."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"
        assert len(self.ids) == len(set(self.ids)), "an id occurs twice"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if (
                name in LOADS
                or (name == "href" and tag not in ("a", "use"))
                or (name == "http-equiv" and value == "refresh")
            ):
                self.loads.append(value or "")
            if name == "href" and tag == "a":
                self.links.append(value or "")
            if name == "href" and tag == "use":
                assert (value or "").startswith("#"), f"<use> of something outside the page: {value}"
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.text += data


def checked_page(text: str) -> Page:
    """The parsed page. Fails where it is not well-formed, loads something, or runs something."""
    page = Page(text)
    assert [url for url in page.loads if url != "data:," and not url.startswith("data:image/")] == []
    assert page.handlers == []
    assert not page.tags & {"script", "iframe", "object", "embed", "base", "form"}
    assert not re.search(r"@import|url\((?!#)", text)
    assert "default-src 'none'" in text
    return page
