"""Events and what they carry: records in, an event out. Pure: no bucket, no clock, no Prefect (flows/events.py emits).

Names and resource ids begin with `frames2firmware.`. A payload is made for two readers: a script takes its fields, a
person the sentence in `summary`. `frames2firmware.frames.landed` is missing here: only the bridge between the S3
server's notices and Prefect emits it (deployments/event_bridge.py).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from tasks.candidates import FinishedRun
from tasks.events import OURS, Event, related, resource
from tasks.ingest import IngestSummary
from tasks.layer_error import layer_sentence, worst_layers
from tasks.lineage import Candidate, DatasetVersion, Slice, TrainedModel, ValidationOutcome
from tasks.parameters import ComparisonParameters
from tasks.release_records import Channel, Release
from tasks.report_figures import duration, loss, number, percent

WORST_LAYERS = 3
DEGRADATION_RULES = frozenset({"degradation", "degradation_bound"})
MIN_SLICE_FRAMES = ComparisonParameters().min_slice_frames  # devices with fewer have no figure worth an alarm
RELATED_DEVICES = 50  # Prefect takes 100 related resources an event, and adds those of the run


def ingest_finished(summary: IngestSummary, devices: Mapping[str, int]) -> Event:
    """New objects were looked at. `devices`: frames that came into the index, by device."""
    refused = sum(summary.refused.values())
    return Event(
        name=f"{OURS}.ingest.finished",
        resource=resource("index", "", "frame index"),
        related=[related("device", device) for device in sorted(devices)[:RELATED_DEVICES]],
        payload={
            "summary": f"{summary.indexed:,} new frames of {_count(len(devices), 'device')}, {refused:,} refused",
            "devices": dict(sorted(devices.items())),
            **summary.model_dump(mode="json", exclude={"refused_examples"}),
        },
    )


def validation_failed(dataset: DatasetVersion, outcome: ValidationOutcome, *, docs_url: str | None) -> Event:
    """A data set broke its expectations. Told once a data set, suite and limits."""
    failed = [e for e in outcome.expectations if e.error or (not e.success and e.severity == "critical")]
    frames = sum(sum(labels.values()) for labels in dataset.counts.values())
    return Event(
        name=f"{OURS}.validation.failed",
        resource=resource("dataset", dataset.digest, f"data set {dataset.digest[:12]}"),
        related=[],
        payload={
            "summary": f"data set {dataset.digest[:12]} ({frames:,} frames) breaks "
            f"{_count(len(failed), 'expectation')}: nothing was trained",
            "dataset": dataset.digest,
            "frames": frames,
            "devices": sorted(dataset.devices),
            "failed": [
                {"name": e.name, "found": e.error or e.observed, "frames": e.unexpected, "examples": e.examples[:3]}
                for e in failed
            ],
            "docs": {"url": docs_url, "key": f"{outcome.docs}/index.html"},
        },
        subject=outcome.digest,
    )


def training_finished(trained: TrainedModel) -> Event:
    """A model was trained. Told once a model: a later run that finds it did not train it."""
    return Event(
        name=f"{OURS}.training.finished",
        resource=resource("model", trained.digest, f"FP32 model {trained.digest[:12]}"),
        related=[related("dataset", trained.dataset)],
        payload={
            "summary": f"FP32 model {trained.digest[:12]} trained in {duration(trained.seconds)}, "
            f"validation accuracy {percent(trained.val_accuracy)}",
            "model": trained.digest,
            "dataset": trained.dataset,
            "val_accuracy": trained.val_accuracy,
            "epochs": len(trained.curves),
            "seconds": trained.seconds,
            "alpha": trained.parameters.alpha,
            "width": trained.parameters.width,
            "height": trained.parameters.height,
        },
        subject=trained.digest,
    )


def is_degraded(run: FinishedRun) -> bool:
    """Whether quantization is what went wrong: it cost too much accuracy, or left what the device cannot run."""
    broken = {rule.name for rule in run.verdict.rules if not rule.passed}
    return not run.int8.clean or bool(broken & DEGRADATION_RULES)


def quantization_degraded(
    run: FinishedRun, candidate: Candidate, *, held: Channel | None, channel: str = "stable", report_url: str | None
) -> Event:
    """INT8 is too much worse than FP32 (`is_degraded`). Told once an INT8 model; all that somebody needs to act.

    Accuracies and losses are fractions; without a report (the audit refused the model) they are None.
    """
    report, int8, limits = run.report, run.int8, run.verdict.limits
    field = in_the_field(held, channel)
    layers = _worst_layers(run)
    return Event(
        name=f"{OURS}.quantization.degraded",
        resource=resource("int8", int8.digest, f"INT8 model {int8.digest[:12]}"),
        related=_parents(run),
        payload={
            "summary": f"{_what_degraded(run)}. {_first_upper(field['text'])}",
            "evaluated": report is not None,
            "fp32_accuracy": report.fp32.accuracy if report else None,
            "int8_accuracy": report.quantized.accuracy if report else None,
            "loss": {
                "point": report.degradation.point if report else None,
                "limit": limits.max_degradation,
                "bound": report.degradation.bound if report else None,
                "bound_limit": limits.max_degradation_bound,
                "lost": report.degradation.lost if report else None,
                "gained": report.degradation.gained if report else None,
                "frames": report.degradation.frames if report else None,
                "sessions": report.degradation.sessions if report else None,
            },
            "offenders": [offender.model_dump(mode="json") for offender in int8.offenders[:5]],
            "layers": layers,
            "layers_text": "; ".join(layer["text"] for layer in layers) or _no_layers(run),
            "worst_slice": worst_slice(report.slices) if report else None,
            "field": field,
            **_decision(run, candidate, report_url),
        },
        subject=int8.digest,
    )


def candidate_rejected(run: FinishedRun, candidate: Candidate, *, report_url: str | None) -> Event:
    """A candidate did not pass. Told once a candidate; the label `frames2firmware.cause` says what refused it.

    degradation: quantization, which has an event of its own; gate: another rule; image: a board's image.
    """
    cause = "degradation" if is_degraded(run) else "image" if run.verdict.passed else "gate"
    labels = {f"{OURS}.cause": cause}
    return Event(
        name=f"{OURS}.candidate.rejected",
        resource=resource("candidate", candidate.digest, f"candidate {candidate.digest[:12]}") | labels,
        related=[related("int8", candidate.int8), *_parents(run)],
        payload={
            "summary": f"candidate {candidate.digest[:12]} was rejected: {'; '.join(run.broken)}",
            "cause": cause,
            "fp32_accuracy": run.report.fp32.accuracy if run.report else None,
            "int8_accuracy": run.report.quantized.accuracy if run.report else None,
            **_decision(run, candidate, report_url),
        },
        subject=candidate.digest,
    )


def release_published(release: Release, channel: Channel, *, report_url: str | None = None) -> Event:
    """A release is in the channel. Told once a revision."""
    boards = ", ".join(release.boards) or "no board"
    return Event(
        name=f"{OURS}.release.published",
        resource=resource("release", str(release.number), f"release {release.number}"),
        related=[
            related("channel", channel.name),
            related("candidate", release.candidate),
            related("int8", release.int8),
            related("model", release.model),
            related("dataset", release.dataset),
        ],
        payload={
            "summary": f"release {release.number} is in channel {channel.name} (revision {channel.revision}): INT8 "
            f"accuracy {percent(release.accuracy)} on {number(release.test_frames)} test frames, images for {boards}",
            "release": release.number,
            "release_digest": release.digest,
            "previous": release.previous,
            "accuracy": release.accuracy,
            "test_frames": release.test_frames,
            "boards": release.boards,
            "report": {"url": report_url, "key": release.html},
            **_moved(channel),
            **{name: getattr(release, name) for name in ("candidate", "int8", "model", "dataset")},
        },
        subject=f"{channel.name}-{channel.revision}",
    )


def rolled_back(channel: Channel, *, left: int | None = None) -> Event:
    """A channel points at an earlier release. Told once a revision; `left`: the release that it held before."""
    origin = f" from release {left}" if left else ""
    return Event(
        name=f"{OURS}.release.rolled-back",
        resource=resource("channel", channel.name, f"channel {channel.name}"),
        related=[related("release", str(number)) for number in (channel.release, left) if number],
        payload={
            "summary": f"channel {channel.name} was rolled back{origin} to release {channel.release} (revision "
            f"{channel.revision}): {channel.reason}",
            "release": channel.release,
            "left": left,
            "reason": channel.reason,
            "highest": channel.highest,
            **_moved(channel),
        },
        subject=f"{channel.name}-{channel.revision}",
    )


def device_silent(device: str, last_seen: datetime, hours: float) -> Event:
    """Nothing of a device for longer than `hours`. Told once, until something of it arrives (another `last_seen`)."""
    last_seen = last_seen.astimezone(UTC)
    return Event(
        name=f"{OURS}.device.silent",
        resource=resource("device", device, device),
        related=[],
        payload={
            "summary": f"nothing from device {device} since {last_seen:%Y-%m-%d %H:%M} UTC (limit: {hours:g} hours)",
            "device": device,
            "last_seen": last_seen.isoformat(),
            "hours": hours,
        },
        subject=f"{quote(device, safe='')}-{last_seen:%Y%m%dT%H%M%SZ}",
    )


def worst_slice(slices: Sequence[Slice]) -> dict[str, Any] | None:
    """The device whose test frames lost most accuracy by INT8, of those with enough; None where none has enough."""
    enough = [one for one in slices if one.samples >= MIN_SLICE_FRAMES]
    if not enough:
        return None
    worst = max(enough, key=lambda one: (one.fp32.accuracy - one.int8.accuracy, -one.int8.accuracy))
    return {
        "name": worst.name,
        "samples": worst.samples,
        "fp32_accuracy": worst.fp32.accuracy,
        "int8_accuracy": worst.int8.accuracy,
    }


def in_the_field(held: Channel | None, channel: str) -> dict[str, Any]:
    """What devices run now, whatever became of the newest model."""
    if held is None:
        return {"channel": channel, "release": None, "revision": None, "text": "nothing was released yet"}
    text = f"devices still get release {held.release} (revision {held.revision} of channel {held.name})"
    return {"channel": held.name, "release": held.release, "revision": held.revision, "text": text}


def _worst_layers(run: FinishedRun) -> list[dict[str, Any]]:
    found = worst_layers(run.report, WORST_LAYERS) if run.report else ()
    return [{**layer.model_dump(mode="json"), "text": layer_sentence(layer)} for layer in found]


def _no_layers(run: FinishedRun) -> str:
    return "none loses anything by itself" if run.report and run.report.layers else "not analysed"


def _what_degraded(run: FinishedRun) -> str:
    name = f"INT8 model {run.int8.digest[:12]}"
    if not run.report:
        return f"{name} is not fit for the device: the audit found {_count(len(run.int8.offenders), 'offender')}"
    found = run.report.degradation
    return (
        f"{name} gets {percent(run.report.quantized.accuracy)} of {number(found.frames)} test frames right, FP32 "
        f"{percent(run.report.fp32.accuracy)}: a loss of {loss(found.point)}, with 95 % confidence at most "
        f"{loss(found.bound)}"
    )


def _decision(run: FinishedRun, candidate: Candidate, report_url: str | None) -> dict[str, Any]:
    return {
        "reasons": run.broken,
        "rules": [rule.name for rule in run.verdict.rules if not rule.passed],
        "report": {"url": report_url, "key": candidate.html},
        "candidate": candidate.digest,
        "int8": candidate.int8,
        "model": candidate.model,
        "dataset": candidate.dataset,
    }


def _moved(channel: Channel) -> dict[str, Any]:
    return {"channel": channel.name, "revision": channel.revision, "moved_at": channel.moved_at.isoformat()}


def _parents(run: FinishedRun) -> list[dict[str, str]]:
    return [related("model", run.trained.digest), related("dataset", run.dataset.digest)]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]
