"""What a finished run leaves for people: the report page, the candidate's record, and artifacts on the run's page."""

from datetime import UTC, datetime

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from flows.stages import stage
from tasks.candidates import FinishedRun, find_candidate
from tasks.firmware_figures import firmware_table
from tasks.lineage import Candidate, ValidationOutcome
from tasks.report import markdown_summary, public_url, store_report
from tasks.report_figures import outcome
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
        description=outcome(run.verdict, run.firmware),
    )
    create_table_artifact(
        [{"rule": r.name, "passed": r.passed, "figure": r.figure, "limit": r.limit} for r in run.verdict.rules],
        key="gate",
        description="Every rule of the gate",
    )
    if run.firmware:
        create_table_artifact(
            firmware_table(run.firmware), key="firmware", description="One image a board; arena figures are bytes"
        )
    if url:
        create_link_artifact(url, link_text="Report", key="report", description="The whole report of this run")
    return candidate


def show_validation(outcome: ValidationOutcome) -> None:
    """The validation's result on the run's page, with a link to the Data Docs."""
    rows = "\n".join(
        f"| {'ok' if e.success else '**failed**'} | {e.name} | {e.error or e.observed} | {', '.join(e.examples[:3])} |"
        for e in sorted(outcome.expectations, key=lambda e: e.success)
    )
    url = public_url(open_store(), f"{outcome.docs}/index.html")
    create_markdown_artifact(
        f"# Data set {'valid' if outcome.success else 'refused'}\n\n"
        f"{f'[Data Docs]({url})' if url else f'Data Docs: `{outcome.docs}`'}\n\n"
        f"| | expectation | observed | examples |\n|---|---|---|---|\n{rows}\n",
        key="validation",
        description="Great Expectations checkpoint",
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
