"""Finished runs: all records of one together, and their candidates in the bucket, newest first."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from tasks.firmware_records import FirmwareImage
from tasks.lineage import Candidate, DatasetVersion, Int8Model, Report, TrainedModel, ValidationOutcome, Verdict
from tasks.store import Store

FOLDER = "models/candidates/"


@dataclass(frozen=True)
class FinishedRun:
    """All records of one run. `report` is None where the model was not fit to be evaluated."""

    dataset: DatasetVersion
    validation: ValidationOutcome
    trained: TrainedModel
    int8: Int8Model
    report: Report | None
    verdict: Verdict
    firmware: tuple[FirmwareImage, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the gate passed the model and every image of it was proven."""
        return self.verdict.passed and all(image.passed for image in self.firmware)

    @property
    def broken(self) -> tuple[str, ...]:
        """Why it did not pass: the reasons of all broken rules."""
        images = [f"{image.board}: {rule.reason}" for image in self.firmware for rule in image.rules if not rule.passed]
        return (*(rule.reason for rule in self.verdict.rules if not rule.passed), *images)

    def candidate(self, html: str, decided_at: datetime) -> Candidate:
        """The run by digests; `html` is the key of its page."""
        records = {
            "dataset": self.dataset.key,
            "validation": self.validation.key,
            "model": self.trained.key,
            "int8": self.int8.key,
            "verdict": self.verdict.key,
        }
        if self.report:
            records["report"] = self.report.key
        records |= {f"firmware-{image.board}": image.key for image in self.firmware}
        return Candidate(
            dataset=self.dataset.digest,
            validation=self.validation.digest,
            model=self.trained.digest,
            int8=self.int8.digest,
            report=self.report.digest if self.report else None,
            verdict=self.verdict.digest,
            firmware=tuple(image.digest for image in self.firmware),
            passed=self.passed,
            html=html,
            decided_at=decided_at,
            records=records,
        )


def candidates(store: Store) -> Iterator[Candidate]:
    """All finished runs, the newest decision first."""
    for item in sorted(store.list(FOLDER), key=lambda found: found.key, reverse=True):
        yield store.get_record(item.key, Candidate)


def find_candidate(store: Store, digest: str) -> Candidate | None:
    """The stored candidate with this digest (its time of decision is the first one)."""
    for item in store.list(FOLDER):
        if item.key.endswith(f"-{digest[:16]}.json"):
            return store.get_record(item.key, Candidate)
    return None


def newest_passed(store: Store) -> Candidate | None:
    """The candidate that passed its gate last."""
    return next((candidate for candidate in candidates(store) if candidate.passed), None)
