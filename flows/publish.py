"""What a finished run leaves for people: the report page, the candidate's record, and artifacts on the run's page."""

from datetime import UTC, datetime

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from flows.stages import stage
from tasks.candidates import FinishedRun, find_candidate
from tasks.firmware_figures import firmware_table
from tasks.lineage import Candidate, ValidationOutcome
from tasks.report import markdown_summary, public_url, store_report
from tasks.report_figures import outcome, percent, rule_row
from tasks.store import open_store
from tasks.sweep_point import SweepPoint


@stage
def publish(run: FinishedRun) -> Candidate:
    """Stores report page, verdict and candidate; a rerun finds the candidate and only shows it again."""
    store = open_store()
    html, url = store_report(store, run)
    store.put_record(run.verdict.key, run.verdict)
    made = run.candidate(html, datetime.now(UTC).replace(microsecond=0))
    candidate = find_candidate(store, made.digest) or made
    store.create(candidate.key, candidate.model_dump_json(indent=1).encode(), content_type="application/json")
    create_markdown_artifact(
        markdown_summary(run, report_url=url, docs_url=public_url(store, f"{run.validation.docs}/index.html")),
        key="verdict",
        description=_in_short(run),
    )
    create_table_artifact(
        [
            {"rule": row.title, "holds": "yes" if row.passed else "NO", "figure": row.figure, "limit": row.limit}
            for row in map(rule_row, run.verdict.rules)
        ],
        key="gate",
        description=f"{sum(r.passed for r in run.verdict.rules)} of {len(run.verdict.rules)} rules hold",
    )
    if run.firmware:
        create_table_artifact(
            _a_column_a_board(firmware_table(run.firmware)),
            key="firmware",
            description=f"{sum(i.passed for i in run.firmware)} of {len(run.firmware)} images proven; arena in bytes",
        )
    if url:
        create_link_artifact(url, link_text="Report", key="report", description="The whole report of this run")
    return candidate


def _in_short(run: FinishedRun) -> str:
    """A line for the list of artifacts, and for the list of versions: there it tells one run from the other."""
    said = outcome(run.verdict, run.firmware)
    return f"{said}: {percent(run.report.quantized.accuracy)} INT8 accuracy" if run.report else said


def _a_column_a_board(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The page is narrow and there are few boards: figures go down, boards across."""
    return [{"figure": name, **{row["board"]: row[name] for row in rows}} for name in rows[0] if name != "board"]


def show_validation(outcome: ValidationOutcome) -> None:
    """The validation's result on the run's page, with a link to the Data Docs."""
    rows = "\n".join(
        f"| {'ok' if e.success else '**failed**'} | {e.name} | {e.error or e.observed} | {', '.join(e.examples[:3])} |"
        for e in sorted(outcome.expectations, key=lambda e: e.success)
    )
    url = public_url(open_store(), f"{outcome.docs}/index.html")
    held = sum(one.success for one in outcome.expectations)
    create_markdown_artifact(
        f"# Data set {'valid' if outcome.success else 'refused'}\n\n"
        f"{held} of {len(outcome.expectations)} expectations hold. "
        f"{f'[Data Docs]({url})' if url else f'Data Docs: `{outcome.docs}`'}\n\n"
        f"| | expectation | observed | examples |\n|---|---|---|---|\n{rows}\n",
        key="validation",
        description=f"{held} of {len(outcome.expectations)} expectations hold",
    )


@stage
def publish_sweep(points: list[SweepPoint]) -> tuple[SweepPoint, ...]:
    """Marks the Pareto front, stores the sweep's page, shows table and link; returns the marked points."""
    from tasks.sweep_report import pareto_front, store_sweep, sweep_table

    marked = pareto_front(points)
    _, url = store_sweep(open_store(), marked)
    create_table_artifact(
        sweep_table(marked), key="sweep", description="On the validation split, the most accurate first"
    )
    if url:
        create_link_artifact(url, link_text="Pareto picture", key="sweep-report")
    return marked
