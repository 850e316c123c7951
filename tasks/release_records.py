"""The records of what reaches devices: a release, the channel that says which one is current, and an erasure."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.lineage import Rule
from tasks.parameters import ComparisonParameters
from tasks.record import Record, Sha256
from tasks.signing import Signature

Number = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Artefact(_Part):
    """An object of the bucket that a release consists of."""

    key: str
    sha256: Sha256
    size: int  # bytes


class SliceComparison(_Part):
    """The same figures on the test frames of one device."""

    name: str
    frames: int
    candidate: float  # accuracy, 0..1
    channel: float | None  # None where nothing is in the channel
    floor: float | None  # None for a slice with too few frames to have one


class Comparison(Record):
    """A candidate's INT8 model against the one in the channel: the same test frames, the device's kernels.

    `point` and `bound` are the channel's accuracy minus the candidate's, as fractions, and its one-sided 95 % upper
    bound (tasks/degradation.py); None where nothing is in the channel, or the same model.
    """

    IDENTITY = ("candidate", "channel", "report", "parameters", "code_version")
    candidate: str  # digests of Int8Models
    channel: str | None
    report: str  # the candidate's report, whose frames these are
    parameters: ComparisonParameters
    code_version: str
    channel_release: int | None
    frames: int
    sessions: int
    candidate_accuracy: float
    channel_accuracy: float | None
    point: float | None
    bound: float | None
    lost: int  # frames that the channel's model has right and the candidate's wrong
    gained: int
    channel_scores: Sha256 | None  # blob: Parquet with pixels_sha256 and score (0..1)
    slices: tuple[SliceComparison, ...]
    rules: tuple[Rule, ...]
    passed: bool

    @property
    def key(self) -> str:
        return f"models/comparisons/{self.digest}.json"


class Release(Record):
    """What may be flashed. Created once as `releases/<number>.json`; every object of it by its SHA-256."""

    IDENTITY = ("number", "candidate", "previous", "artefacts", "comparison", "html", "created_at")
    number: Number
    candidate: str
    dataset: str
    validation: str
    model: str
    int8: str
    report: str
    verdict: str
    firmware: tuple[str, ...]  # digests of its images, one a board
    boards: tuple[str, ...]
    html: str  # key of the report page; its bytes at the time of the release are an artefact
    previous: Number | None  # what the channel held when it was made
    comparison: Comparison
    artefacts: dict[str, Artefact]  # name -> object
    accuracy: float  # of the INT8 model on its test frames
    test_frames: int
    created_at: datetime
    signature: Signature | None = None

    @property
    def key(self) -> str:
        return release_key(self.number)


class Channel(Record):
    """Which release devices get. Moved by compare-and-swap; every revision is kept beside it."""

    IDENTITY = ("name", "revision", "release", "release_digest", "kind", "reason", "highest", "previous", "moved_at")
    name: str
    revision: Number  # only grows
    release: Number
    release_digest: str
    kind: Literal["promotion", "rollback"]
    reason: str
    highest: Number  # the newest release that was ever in it: only newer ones are promoted
    previous: str | None  # digest of the revision before
    moved_at: datetime
    signature: Signature | None = None

    @property
    def key(self) -> str:
        return channel_key(self.name)

    @property
    def history_key(self) -> str:
        return f"channels/{self.name}/{self.revision:06d}.json"


class Erasure(Record):
    """Which frames were erased, and what that changed in objects that releases consist of. Written before it is done.

    `replaced`: key -> SHA-256 before and after. What a blob became is `blobs/<SHA-256 after>`, the old one is deleted;
    every other object is changed in its place.
    """

    IDENTITY = ("pixels", "replaced", "reason", "at")
    pixels: tuple[Sha256, ...]  # pixels_sha256 of the frames
    replaced: dict[str, tuple[Sha256, Sha256]]
    reason: str
    at: datetime
    signature: Signature | None = None

    @property
    def key(self) -> str:
        return f"erasures/{self.digest}.json"


def release_key(number: int) -> str:
    """The key of a release."""
    return f"releases/{number}.json"


def channel_key(name: str) -> str:
    """The key of a channel's current revision."""
    return f"channels/{name}.json"
