"""The report of one candidate: a self-contained page in the bucket, and a short summary for the run's page.

The page loads nothing (its Content-Security-Policy forbids it), needs no script, and escapes everything that comes
from outside, such as device names.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import jinja2
from pydantic import BaseModel

from tasks import report_figures as figures
from tasks.candidates import FinishedRun
from tasks.firmware_figures import firmware_cards, firmware_markdown, image_parameters
from tasks.firmware_records import FirmwareImage
from tasks.firmware_view import board_view
from tasks.layer_figures import layer_markdown, layer_view
from tasks.lineage import CLASSES, SPLITS, DatasetVersion, Int8Model, Report, TrainedModel, Verdict, digest_of
from tasks.store import Store

MISTAKES = 18  # thumbnails of each kind: more would be looked at by nobody


@lru_cache(maxsize=1)
def environment() -> jinja2.Environment:
    """Templates beside this file; everything is escaped, a missing name is an error."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    written: tuple[Callable[..., str], ...] = (
        figures.number,
        figures.percent,
        figures.points,
        figures.area,
        figures.score,
        figures.size,
    )
    found.filters.update({function.__name__: function for function in written})
    return found


def public_url(store: Store, key: str) -> str | None:
    """Where people can open an object of the bucket; None without a public base URL (http or https)."""
    base = store.where.public_base_url
    if not base or urlsplit(base).scheme not in ("http", "https"):
        return None
    return f"{base.rstrip('/')}/{quote(key)}"


def html_key(run: FinishedRun) -> str:
    """Where the page lies: one page a verdict and its images, since other limits or boards give another page."""
    report, verdict = run.report, run.verdict
    images = [image.digest for image in run.firmware]
    name = digest_of([verdict.digest, *images]) if images else verdict.digest
    return f"models/reports/{report.digest if report else verdict.digest}/report-{name[:16]}.html"


def store_report(store: Store, run: FinishedRun) -> tuple[str, str | None]:
    """Renders the page and stores it; returns its key, and its URL where the bucket is served to people."""
    page = render_report(store, run)
    key = html_key(run)
    store.put(key, page.encode(), content_type="text/html; charset=utf-8")
    return key, public_url(store, key)


def render_report(store: Store, run: FinishedRun) -> str:
    """The page. Where the model was not fit to be evaluated there is no report: verdict and offenders are shown.

    Reads the scores blob and the shards of the thumbnails; raises `ObjectMissing` or `DigestMismatch` where one is not
    as it was.
    """
    from tasks.plots import training_curves

    dataset, validation, trained, int8 = run.dataset, run.validation, run.trained, run.int8
    report, verdict = run.report, run.verdict
    records: dict[str, BaseModel] = {
        "data set": dataset,
        "validation": validation,
        "FP32 model": trained,
        "INT8 model": int8,
        **({"report": report} if report else {}),
        "verdict": verdict,
        **{f"image {image.board}": image for image in run.firmware},
    }
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            title=f"{figures.outcome(verdict, run.firmware)}: INT8 model {int8.digest[:12]}",
            passed=run.passed,
            classes=CLASSES,
            dataset=dataset,
            validation=validation,
            int8=int8,
            report=report,
            layers=layer_view(report) if report and report.layers else None,
            verdict=verdict,
            headline=figures.headline(verdict, report, run.firmware),
            rules=[figures.rule_row(rule) for rule in verdict.rules],
            splits=_splits(dataset),
            devices=_devices(dataset),
            expectations=sorted(validation.expectations, key=lambda e: e.success),
            docs_url=public_url(store, f"{validation.docs}/index.html"),
            training=figures.training_sentence(trained),
            curves=training_curves(trained.curves) if trained.curves else "",
            firmware=[board_view(image, lambda key: public_url(store, key)) for image in run.firmware],
            firmware_cards=firmware_cards(run.firmware[0]) if run.firmware else [],
            cards=_cards(int8),
            ops=_ops(int8),
            lineage=_lineage(store, dataset, trained, int8, report, records),
            parameters=_parameters(records),
            **(_evaluated(store, report, int8, verdict) if report else {}),
        )
    )


def _evaluated(store: Store, report: Report, int8: Int8Model, verdict: Verdict) -> dict[str, Any]:
    """What only an evaluated model has."""
    from tasks import plots, thumbnails

    scores = thumbnails.load_scores(store, report)
    threshold = report.parameters.threshold
    worst = thumbnails.worst_mistakes(scores, threshold, limit=MISTAKES)
    wrong = report.quantized.confusion[0][1] + report.quantized.confusion[1][0]
    flips = thumbnails.disagreements(scores, threshold, limit=MISTAKES)
    both = scores.labels.any() and not scores.labels.all()
    return {
        "figures": figures.figure_rows(report, int8),
        "loss": figures.loss_sentences(report.degradation, verdict.limits),
        "roc": plots.roc(scores.labels, scores.fp32, scores.int8) if both else "",
        "distribution": plots.score_distribution(scores.labels, scores.fp32, scores.int8, threshold),
        "slices": sorted(report.slices, key=lambda s: (s.int8.accuracy, s.name)),
        "mistakes": thumbnails.thumbnails(store, scores, worst),
        "mistakes_text": f"INT8 has {wrong:,} of {len(scores):,} frames wrong. "
        f"The {len(worst)} of which it was most sure:",
        "flips": thumbnails.thumbnails(store, scores, flips),
    }


def _splits(dataset: DatasetVersion) -> list[dict[str, Any]]:
    return [
        {
            "name": split,
            "classes": [dataset.counts.get(split, {}).get(label, 0) for label in CLASSES],
            "frames": sum(dataset.counts.get(split, {}).values()),
            "sessions": dataset.sessions.get(split, 0),
        }
        for split in SPLITS
    ]


def _devices(dataset: DatasetVersion) -> list[dict[str, Any]]:
    rows = [
        {"name": name, "classes": [counts.get(label, 0) for label in CLASSES], "frames": sum(counts.values())}
        for name, counts in dataset.devices.items()
    ]
    return sorted(rows, key=lambda row: (-row["frames"], row["name"]))


def _cards(int8: Int8Model) -> list[dict[str, str]]:
    return [
        {"name": "INT8 file", "figure": figures.size(int8.size_bytes), "note": f"{int8.size_bytes:,} B"},
        {
            "name": "of the FP32 file",
            "figure": figures.percent(figures.ratio(int8)),
            "note": f"FP32: {int8.fp32_size_bytes:,} B",
        },
        {"name": "work a frame", "figure": f"{int8.macs / 1e6:,.1f} M", "note": "multiply-accumulates"},
        {
            "name": "activation peak",
            "figure": figures.size(int8.activation_peak_bytes),
            "note": "lower bound of the tensor arena",
        },
    ]


def _ops(int8: Int8Model) -> list[dict[str, Any]]:
    most = max(int8.ops.values(), default=1)
    ordered = sorted(int8.ops.items(), key=lambda item: (-item[1], item[0]))
    return [{"name": name, "times": times, "share": 100 * times / most} for name, times in ordered]


def _lineage(
    store: Store,
    dataset: DatasetVersion,
    trained: TrainedModel,
    int8: Int8Model,
    report: Report | None,
    records: dict[str, BaseModel],
) -> list[dict[str, str | None]]:
    # Records are served to people (deployments/report_server.py), blobs are not: those have no link.
    def row(name: str, digest: str, what: str, key: str | None = None) -> dict[str, str | None]:
        return {"name": name, "digest": digest, "what": what, "url": public_url(store, key) if key else None}

    rows = [row(name, getattr(record, "digest"), "record", getattr(record, "key")) for name, record in records.items()]  # noqa: B009 - typed as their base
    if dataset.parent:
        rows.insert(0, row("data set before", dataset.parent, "parent of this one"))
    rows += [
        row("manifest", dataset.manifest, "Parquet, one row a frame"),
        row("FP32 .keras", trained.model, "takes raw 0..255 frames"),
        row("FP32 .tflite", int8.fp32_tflite, f"{int8.fp32_size_bytes:,} B"),
        row("INT8 .tflite", int8.tflite, f"{int8.size_bytes:,} B"),
    ]
    if report:
        rows.append(row("scores", report.scores, "Parquet, both models, one row a frame"))
    for name, version in (
        ("code of training", trained.code_version),
        ("code of conversion", int8.code_version),
        *((("code of evaluation", report.code_version), ("kernels", report.kernels)) if report else ()),
        ("initial weights", trained.initial_weights),
    ):
        rows.append(row(name, version, ""))
    return rows


def _parameters(records: dict[str, BaseModel]) -> dict[str, dict[str, Any]]:
    """Parameters by record, as far as a record has some."""
    found: dict[str, dict[str, Any]] = {}
    for name, record in records.items():
        if isinstance(record, FirmwareImage):
            found[name] = image_parameters(record)
            continue
        parameters = getattr(record, "parameters", None) or getattr(record, "limits", None)
        if parameters is not None:
            found[name] = parameters.model_dump(mode="json")
    return found


def markdown_summary(run: FinishedRun, *, report_url: str | None, docs_url: str | None) -> str:
    """Verdict, rules, key figures and links as Markdown, for the run's page."""
    dataset, validation, trained, int8 = run.dataset, run.validation, run.trained, run.int8
    report, verdict = run.report, run.verdict
    head = figures.headline(verdict, report, run.firmware)
    lines = [f"# {head.title}", "", head.text, *(f"- {_cell(reason)}" for reason in head.reasons), ""]
    links = [f"[{text}]({url})" for text, url in (("Report", report_url), ("Data Docs", docs_url)) if url]
    lines += [" · ".join(links), ""] if links else []
    if report:
        lines += ["| | FP32 | INT8 | INT8 - FP32 |", "|---|--:|--:|--:|"]
        lines += [f"| {r.name} | {r.fp32} | {r.int8} | {r.difference} |" for r in figures.figure_rows(report, int8)]
        lines += ["", *figures.loss_sentences(report.degradation, verdict.limits), ""]
        if worst := layer_markdown(report):
            lines += ["The layers that lose most by themselves:", "", *map(_cell, worst), ""]
    lines += ["| | rule | figure | limit |", "|---|---|--:|--:|"]
    lines += [
        f"| {'ok' if row.passed else '**no**'} | {_cell(row.title)} | {row.figure} | {row.limit} |"
        for row in map(figures.rule_row, verdict.rules)
    ]
    lines += ["", *firmware_markdown(run.firmware)] if run.firmware else []
    held = sum(e.success for e in validation.expectations)
    devices = "1 device" if len(dataset.devices) == 1 else f"{len(dataset.devices)} devices"
    frames = sum(sum(counts.values()) for counts in dataset.counts.values())
    lines += [
        "",
        f"Data set `{dataset.digest[:12]}`: {frames:,} frames of {devices}, "
        f"{held} of {len(validation.expectations)} expectations hold.",
        "",
        figures.training_sentence(trained),
        "",
        f"INT8 model `{int8.digest[:12]}`: {int8.size_bytes:,} B, {figures.percent(figures.ratio(int8))} of FP32, "
        f"{int8.macs / 1e6:,.1f} M MACs, activation peak {int8.activation_peak_bytes:,} B.",
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Text that cannot break out of a table cell or become markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")
