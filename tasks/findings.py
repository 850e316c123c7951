"""What the checks of a data set find: one record a check, one finding a frame or a pair of frames."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

# blocking: a run with these frames would lie, it stops. warning: somebody should look, the run goes on.
Severity = Literal["blocking", "warning"]


class Finding(BaseModel):
    """One frame, or pair of frames, that is not as it should be."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    file: str  # key in the bucket, or path below the folder; a device where the check is about devices
    other: str = ""  # the frame that it is compared with
    score: float = Field(1.0, ge=0, le=1)  # how sure, or how bad: the check's docstring says which; the worst first
    note: str = ""  # a few words: "blurred", "same picture mirrored", "looks like no_person"


class CheckResult(BaseModel):
    """What one check found. No findings: nothing is wrong, or `skipped` says why it could not be told."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    check: str  # "near_duplicates_across_splits": the name that scripts select by
    severity: Severity
    findings: tuple[Finding, ...] = ()  # the worst first
    observed: str = ""  # one sentence with the figures
    advice: str = ""  # what to do about it
    looked_at: int = 0  # frames
    skipped: str = ""

    @property
    def blocks(self) -> bool:
        """Whether a run has to stop."""
        return self.severity == "blocking" and bool(self.findings)


def worst_first(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """By falling score, then by name, so that the same frames give the same order."""
    return tuple(sorted(findings, key=lambda one: (-one.score, one.file, one.other)))
