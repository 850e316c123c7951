"""A page of Great Expectations made safe and whole on its own: nothing fetched, nothing run, what came from a device
is text.

The pages load looks and scripts from public CDNs, and print observed values (labels, sessions, keys: whatever a
device sent) as they are. So each page is read as HTML and written again with the tags and attributes that the pages
need; what is not among them appears as the text that it is.
"""

import re
from html import escape
from html.parser import HTMLParser

# What Great Expectations 1.24 writes, beside what is dropped.
_TAG = re.compile(
    r"html|head|body|title|meta|style|nav|div|span|p|a|ol|ul|li|i|b|em|strong|small|code|pre|br|hr|h[1-6]|"
    r"table|thead|tbody|tr|th|td|button"
)
_VOID = frozenset({"meta", "br", "hr"})
_ATTRIBUTES = frozenset({"id", "class", "href", "charset", "name", "content", "hidden", "colspan", "rowspan"})
_DROPPED = frozenset({"script", "footer", "svg"})  # with all that is inside
NO_ICON = '<link rel="icon" href="data:,">'  # or the browser asks for /favicon.ico
_LOGO = ("NO-CACHE", "Data Docs")  # the class of the remote logo, and what stands in its place
_WITHIN_THE_SITE = re.compile(r"(?!/)(?:\w[^:#]*|\.\.?/[^:#]*)?(?:#.*)?")  # no scheme, no host, no absolute path
_REMOTE_STYLE = re.compile(r"url\(\s*['\"]?(?:https?:)?//[^)]*\)|@import[^;]*;", re.IGNORECASE)


def offline(page: str) -> str:
    """The page without scripts, remote references and foreign markup; links within the site stay."""
    writer = _Writer()
    writer.feed(page)
    writer.close()
    return "<!DOCTYPE html>\n" + "".join(writer.out)


class _Writer(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self._inside = ""  # the dropped element that we are in
        self._style = self._body = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._inside:
            return
        if tag in _DROPPED:
            self._inside = tag
        elif tag == "img" and dict(attrs).get("class") == _LOGO[0]:
            self.out.append(_LOGO[1])
        elif tag == "link" and not self._body:
            pass
        elif not _TAG.fullmatch(tag) or (tag == "style" and self._body):
            self.out.append(escape(self.get_starttag_text() or ""))
        else:
            self._body = self._body or tag == "body"
            self._style = tag == "style"
            kept = "".join(f' {name}="{escape(value or "")}"' for name, value in attrs if _keeps(tag, name, value))
            self.out.append(f"<{tag}{kept}>{NO_ICON if tag == 'head' and not self._body else ''}")

    def handle_endtag(self, tag: str) -> None:
        if self._inside:
            if tag == self._inside:
                self._inside = ""
            return
        self._style = self._style and tag != "style"
        if _TAG.fullmatch(tag) and tag not in _VOID and not (tag == "style" and self._body):
            self.out.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.out.append(_REMOTE_STYLE.sub("none", data) if self._style else escape(data, quote=False))


def _keeps(tag: str, name: str, value: str | None) -> bool:
    if name == "href":
        return tag == "a" and _WITHIN_THE_SITE.fullmatch(value or "") is not None
    return name in _ATTRIBUTES
