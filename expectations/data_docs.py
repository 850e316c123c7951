"""Data Docs: Great Expectations' static site about one validation, made fit to be read from a bucket.

Its pages load their looks and scripts from public CDNs, and its index is drawn by such a script. A reader may be
offline, and who looks at a private camera's data set is nobody's business: the pages get a style sheet of our own
(Great Expectations has a hook for it), scripts and remote references go (offline.py), and the index is a plain table.
"""

from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from expectations.offline import NO_ICON, offline
from tasks.lineage import DatasetVersion, ExpectationOutcome, ValidationOutcome
from tasks.store import Store

if TYPE_CHECKING:
    from great_expectations.data_context.types.base import DataContextConfig

STYLE = Path(__file__).resolve().parent / "data_docs.css"


def context_config(folder: Path) -> "DataContextConfig":
    """A Great Expectations project in memory that builds its site below `folder`/site, in our style."""
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    styles = folder / "plugins" / "custom_data_docs" / "styles"
    styles.mkdir(parents=True)
    (styles / "data_docs_custom_styles.css").write_text(STYLE.read_text())
    return DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        plugins_directory=str(folder / "plugins"),
        data_docs_sites={
            "bucket": {
                "class_name": "SiteBuilder",
                "show_how_to_buttons": False,
                "store_backend": {
                    "class_name": "TupleFilesystemStoreBackend",
                    "base_directory": str(folder / "site"),
                },
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder", "show_cta_footer": False},
            }
        },
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )


def publish(store: Store, outcome: ValidationOutcome, version: DatasetVersion, folder: Path) -> None:
    """Uploads the site below `folder`/site to `outcome.docs`, with an index page that answers first.

    Pages are self-contained: only relative links between themselves, so they open under any address.
    Raises `StoreError`.
    """
    site = folder / "site"
    pages = {
        path.relative_to(site).as_posix(): offline(path.read_text())
        for path in sorted(site.rglob("*.html"))
        if path != site / "index.html"
    }
    pages["index.html"] = index_page(outcome, version, sorted(pages))

    def upload(name: str) -> None:
        store.put(f"{outcome.docs}/{name}", pages[name].encode(), content_type="text/html; charset=utf-8")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upload, pages))


def index_page(outcome: ValidationOutcome, version: DatasetVersion, pages: list[str]) -> str:
    """The first page: the answer, every expectation with what was found, and links to Great Expectations' `pages`."""
    links = [
        f'<a href="{escape(name)}">{"every figure of this run" if name.startswith("validations/") else "the suite"}</a>'
        for name in pages
        if name.startswith(("validations/", "expectations/"))
    ]
    rows = sorted(outcome.expectations, key=lambda found: (found.success, not found.error))
    counts = "".join(
        f"<tr><td>{escape(split)}</td>"
        + "".join(f"<td>{labels.get(label, 0):,}</td>" for label in ("no_person", "person"))
        + f"<td>{version.sessions.get(split, 0):,}</td></tr>"
        for split, labels in version.counts.items()
    )
    held = sum(found.success for found in outcome.expectations)
    answer = "fit for training" if outcome.success else "not fit for training"
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
{NO_ICON}<title>Data set {outcome.dataset[:12]}: {answer}</title><style>{STYLE.read_text()}</style></head>
<body class="f2f-index">
<h1><span class="{"text-success" if outcome.success else "text-danger"}">{"✓" if outcome.success else "✗"}</span>
Data set {outcome.dataset[:12]} is {answer}</h1>
<p>{held} of {len(outcome.expectations)} expectations hold. More: {" · ".join(links)}.</p>
<table class="table"><thead><tr><th></th><th>Expectation</th><th>Found</th><th>Example frames</th></tr></thead>
<tbody>{"".join(map(_row, rows))}</tbody></table>
<table class="table f2f-counts"><thead><tr><th>Split</th><th>no_person</th><th>person</th><th>sessions</th></tr></thead>
<tbody>{counts}</tbody></table>
</body></html>
"""


def _row(found: ExpectationOutcome) -> str:
    mark, colour = ("✓", "text-success") if found.success else ("!" if found.error else "✗", "text-danger")
    seen = f"error: {found.error}" if found.error else found.observed
    examples = "".join(f"<code>{escape(key)}</code><br>" for key in found.examples)
    grade = "" if found.severity == "critical" else f" <em>({escape(found.severity)})</em>"
    return (
        f'<tr><td class="{colour}">{mark}</td><td>{escape(found.name)}{grade}<br><small>{escape(found.expectation)}'
        f"</small></td><td>{escape(seen)}</td><td>{examples}</td></tr>"
    )
