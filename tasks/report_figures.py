"""The report's figures and sentences as people read them: shared by the page and the short summary. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.degradation import sessions_needed
from tasks.firmware_records import FirmwareImage
from tasks.lineage import Degradation, EpochFigures, Int8Model, ModelMetrics, Report, Rule, TrainedModel, Verdict
from tasks.parameters import GateLimits

# name in the record -> (title, how figure and limit are written)
_RULES = {
    "float_free": ("fit for the device", "number"),
    "test_frames": ("enough test frames", "number"),
    "accuracy": ("INT8 accuracy", "percent"),
    "recall": ("INT8 recall of person", "percent"),
    "degradation": ("loss FP32 - INT8", "loss"),
    "degradation_bound": ("95 % bound of the loss", "loss"),
    "size": ("INT8 file", "size"),
    "bit_exact": ("golden frames that differ", "number"),
    "instructions": ("instructions an inference", "number"),
    "flash": ("flash", "size"),
    "ram": ("RAM", "size"),
}

Outcome = Literal["Passed", "Rejected", "Image refused"]


@dataclass(frozen=True)
class RuleRow:
    """A rule as it is shown. `to` and `limit_at` are percent of the bar's length; None: no bar."""

    title: str
    passed: bool
    figure: str
    limit: str
    reason: str
    to: float | None
    limit_at: float | None


@dataclass(frozen=True)
class FigureRow:
    """One figure of both models."""

    name: str
    fp32: str
    int8: str
    difference: str


@dataclass(frozen=True)
class Headline:
    """The verdict in one line and why."""

    title: str
    text: str
    reasons: tuple[str, ...]


def number(value: float | None) -> str:
    """A count with thousands separators."""
    return "" if value is None else f"{value:,.0f}"


def percent(value: float | None) -> str:
    """A fraction as percent, with two digits; 100 % only where nothing is missing."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{100 * value:.2f}"
    return "99.99 %" if text == "100.00" and value < 1 else f"{text} %"


def points(value: float | None) -> str:
    """A difference of fractions in percentage points."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:+.2f}".replace("+0.00", "0.00")


def loss(value: float | None) -> str:
    """A loss of accuracy in percentage points."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.2f} pt"


def area(value: float | None) -> str:
    """An AUC."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.4f}"


def score(value: float) -> str:
    """A score 0..1."""
    return f"{value:.3f}"


def size(value: float | None) -> str:
    """Bytes as kB (1,000 bytes)."""
    return "–" if value is None else f"{value / 1000:,.1f} kB"


def outcome(verdict: Verdict, images: Sequence[FirmwareImage]) -> Outcome:
    """What became of a run in a word or two."""
    if not verdict.passed:
        return "Rejected"
    return "Passed" if all(image.passed for image in images) else "Image refused"


def headline(verdict: Verdict, report: Report | None, images: Sequence[FirmwareImage] = ()) -> Headline:
    """Passed, rejected or refused, with the reasons of the rules that do not hold."""
    if verdict.passed and report:
        text = (
            f"INT8 gets {percent(report.quantized.accuracy)} of {number(report.quantized.samples)} "
            f"{report.parameters.split} frames right and fits every limit."
        )
        return _with_images(f"all {len(verdict.rules)} rules hold", text, images)
    text = "This candidate keeps its report and is not promoted."
    broken = tuple(rule.reason for rule in verdict.rules if not rule.passed)
    if not report:
        text = "The model was not evaluated, since it cannot run on the device as it is. " + text
        broken = tuple(rule.reason for rule in verdict.rules if not rule.passed and rule.figure is not None)
    failed = sum(not rule.passed for rule in verdict.rules)
    return Headline(f"Rejected: {failed} of {len(verdict.rules)} rules do not hold", text, broken)


def _with_images(rules: str, text: str, images: Sequence[FirmwareImage]) -> Headline:
    """The headline of a model that passed its gate, by what became of its images."""
    if not images:
        return Headline(f"Passed: {rules}", f"{text} No board was asked for, so there is no firmware.", ())
    refused = [image.board for image in images if not image.passed]
    if refused:
        reasons = tuple(
            f"{image.board}, {rule_row(rule).title}: {rule.reason}"
            for image in images
            for rule in image.rules
            if not rule.passed
        )
        are = "is" if len(refused) == 1 else "are"
        text += f" But {_of(refused)} {are} refused: the files are kept as evidence, and nothing is promoted."
        return Headline(f"Refused: {len(refused)} of {_images(len(images))} {are} not fit to ship", text, reasons)
    proven = [image.board for image in images if image.outcome]
    other = [image.board for image in images if not image.outcome]
    if proven:
        rules += f", {_images(len(proven))} proven"
        text += (
            f" In the emulator {_of(proven)} {'gives' if len(proven) == 1 else 'give'} the same bytes as TFLM on the "
            "host on every golden frame, within all limits."
        )
    if other:
        was = "was" if len(other) == 1 else "were"
        text += f" No emulator runs {_listed(other)}: {_of(other)} {was} built and not proven."
    return Headline(f"Passed: {rules}", text, ())


def passed_sentence(images: Sequence[FirmwareImage]) -> str:
    """What a run that passed has shown; of images only where there are some."""
    text = "every rule of the gate holds"
    if not images:
        return text
    return f"{text}, every image {'' if all(i.outcome for i in images) else 'that an emulator runs '}is proven"


def _of(boards: Sequence[str]) -> str:
    return f"the {'image' if len(boards) == 1 else 'images'} for {_listed(boards)}"


def _images(count: int) -> str:
    return f"{count} {'image' if count == 1 else 'images'}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def rule_row(rule: Rule) -> RuleRow:
    """A rule with its bar: shares are drawn on 0..100 %, the rest up to the larger of figure and limit."""
    title, kind = _RULES.get(rule.name, (rule.name.replace("_", " "), "plain"))
    write = {"number": number, "percent": percent, "loss": loss, "size": size}.get(kind, _plain)
    to = limit_at = None
    if rule.figure is not None and rule.limit is not None and rule.name != "float_free":
        whole = 1.0 if kind == "percent" else 1.15 * max(rule.figure, rule.limit)
        if whole > 0:
            to, limit_at = (min(100.0, max(0.0, 100 * value / whole)) for value in (rule.figure, rule.limit))
    return RuleRow(
        title,
        rule.passed,
        "–" if rule.figure is None else write(rule.figure),
        "" if rule.limit is None else write(rule.limit),
        rule.reason,
        to,
        limit_at,
    )


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def figure_rows(report: Report, int8: Int8Model) -> list[FigureRow]:
    """Both models side by side; the difference is INT8 - FP32."""

    def row(name: str, pick: str) -> FigureRow:
        one, two = getattr(report.fp32, pick), getattr(report.quantized, pick)
        difference = None if one is None or two is None else two - one
        if pick == "auc":
            return FigureRow(name, area(one), area(two), "–" if difference is None else f"{difference:+.4f}")
        return FigureRow(name, percent(one), percent(two), points(difference))

    return [
        row("accuracy", "accuracy"),
        row("recall of person", "recall"),
        row("precision of person", "precision"),
        row("AUC", "auc"),
        FigureRow("wrong frames", *_counted(_wrong(report.fp32), _wrong(report.quantized))),
        FigureRow("file", size(int8.fp32_size_bytes), size(int8.size_bytes), f"x {ratio(int8):.3f}"),
    ]


def _counted(one: int, two: int) -> tuple[str, str, str]:
    return number(one), number(two), f"{two - one:+d}" if two != one else "0"


def _wrong(metrics: ModelMetrics) -> int:
    return metrics.confusion[0][1] + metrics.confusion[1][0]


def ratio(int8: Int8Model) -> float:
    """Size of the INT8 file as a share of the FP32 file's."""
    return int8.size_bytes / int8.fp32_size_bytes


def loss_sentences(found: Degradation, limits: GateLimits) -> list[str]:
    """What quantization cost, in points, frames and sessions, and how sure that is."""
    net = found.lost - found.gained
    change = "cost nothing" if net == 0 else f"cost {_frames(net)}" if net > 0 else f"won {_frames(-net)}"
    method = (
        "exact, since every session is one frame"
        if found.method == "exact"
        else f"drawn over {number(found.sessions)} sessions, since frames of one session are alike"
    )
    what = (
        f"INT8 lost {_frames(found.lost)} that FP32 has right and gained {_frames(found.gained)} that FP32 has wrong. "
        f"On balance quantization {change} of {number(found.frames)}"
    )
    what += f": {100 * abs(found.point):.2f} points of accuracy." if net else "."
    if found.bound > 0:
        sure = (
            f"With 95 % confidence the loss is at most {100 * found.bound:.2f} points, which is "
            f"{1000 * found.bound:.1f} frames in a thousand ({method})."
        )
    else:
        sure = f"With 95 % confidence INT8 is better by at least {-100 * found.bound:.2f} points ({method})."
    sentences = [what, sure]
    needed = sessions_needed(limits.max_degradation_bound)
    if needed is not None and found.sessions < needed:
        sentences.append(
            f"That is too few to decide: a bound of {loss(limits.max_degradation_bound)} takes at least "
            f"{number(needed)} independent sessions even when no frame flips, and there are {number(found.sessions)}."
        )
    return sentences


def _frames(count: int) -> str:
    return f"{count} {'frame' if count == 1 else 'frames'}"


def best_epoch(curves: tuple[EpochFigures, ...]) -> int | None:
    """Position of the epoch with the smallest val_loss."""
    return min(range(len(curves)), key=lambda i: curves[i].val_loss) if curves else None


def training_sentence(trained: TrainedModel) -> str:
    """What was trained, how long, and which epoch was best."""
    parameters = trained.parameters
    weights = trained.initial_weights if len(trained.initial_weights) < 64 else f"file {trained.initial_weights[:12]}"
    text = (
        f"MobileNetV2 {parameters.alpha:g} at {parameters.width}x{parameters.height}, initial weights {weights}, "
        f"{number(trained.trained_weights)} of {number(trained.total_weights)} weights trained at the end, "
        f"{duration(trained.seconds)}."
    )
    best = best_epoch(trained.curves)
    if best is None:
        return text + " No epoch was trained."
    phases = [sum(1 for e in trained.curves if e.phase == phase) for phase in ("head", "fine_tune")]
    return (
        f"{text} {phases[0]} {'epoch' if phases[0] == 1 else 'epochs'} of the head, {phases[1]} of fine-tuning; the "
        f"smallest validation loss was in epoch "
        f"{best + 1}. Validation accuracy of the model that was kept: {percent(trained.val_accuracy)}."
    )


def duration(seconds: float) -> str:
    """Seconds as s or min."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
