"""The parameter model of each flow: bounded and described, since it is the form in the Prefect UI."""

from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from tasks.parameters import (
    BoardLimits,
    DatasetParameters,
    EvaluateParameters,
    FirmwareParameters,
    GateLimits,
    HysteresisParameters,
    Parameters,
    PromoteParameters,
    QuantizeParameters,
    SplitParameters,
    TrainParameters,
    ValidationParameters,
    WatchPolicy,
)

_KEY = r"^([a-z0-9][a-z0-9/._-]*\.json)?$"
_OR_NEWEST = "; empty, all three together: those of the newest candidate that passed."


class IngestParameters(Parameters):
    """Index the frames that landed since the last look."""

    splits: SplitParameters = Field(SplitParameters(), description="How new sessions are dealt out.")
    full: bool = Field(False, description="List every day, not only those since the last look minus two.")


class RetrainParameters(Parameters):
    """From the frame index to a verified firmware image."""

    dataset: DatasetParameters = Field(DatasetParameters(), description="Which frames.")
    validation: ValidationParameters = Field(ValidationParameters(), description="What the data set must be like.")
    train: TrainParameters = Field(TrainParameters(), description="Architecture and training.")
    quantize: QuantizeParameters = Field(QuantizeParameters(), description="INT8 conversion.")
    evaluate: EvaluateParameters = Field(
        EvaluateParameters(), description="How the two models are compared; split must stay test."
    )
    limits: GateLimits = Field(GateLimits(), description="What the candidate must reach.")
    firmware: FirmwareParameters = Field(FirmwareParameters(), description="Images of a model that passed.")
    promote: PromoteParameters = Field(PromoteParameters(), description="What becomes of a candidate that passed.")
    index_rows: int = Field(
        0, ge=0, description="Only the first rows of the frame index, as a watch had counted them; 0: all."
    )

    @model_validator(mode="after")
    def _a_person_can_leave(self) -> Self:
        margin, threshold = self.firmware.hysteresis.margin, self.evaluate.threshold
        if margin >= threshold:
            raise ValueError(
                f"firmware.hysteresis.margin {margin} reaches evaluate.threshold {threshold}: no score would be low "
                "enough to speak against a person"
            )
        return self

    @model_validator(mode="after")
    def _judged_on_test(self) -> Self:
        if self.evaluate.split != "test":
            raise ValueError("a verdict is given on the test split only: leave evaluate.split at test")
        return self


class WatchParameters(Parameters):
    """Index what landed, and start a retrain when there is enough that is new."""

    policy: WatchPolicy = Field(WatchPolicy(), description="How much is enough.")
    splits: SplitParameters = Field(SplitParameters(), description="How new sessions are dealt out.")
    retrain: RetrainParameters = Field(
        RetrainParameters(promote=PromoteParameters(dry_run=False)),
        description="The retrain that is started; it releases what passes (promote.dry_run is false).",
    )

    @field_validator("retrain", mode="before")
    @classmethod
    def _releases_unless_told_otherwise(cls, retrain: Any) -> Any:
        """Whoever sets one parameter of the retrain does not thereby make it a dry run."""
        if isinstance(retrain, dict) and isinstance(promote := retrain.get("promote", {}), dict):
            return {**retrain, "promote": {"dry_run": False, **promote}}
        return retrain

    @model_validator(mode="after")
    def _rows_are_counted_here(self) -> Self:
        if self.retrain.index_rows:
            raise ValueError("retrain.index_rows is counted by the watch itself: leave it at 0")
        return self


class PromoteRunParameters(Parameters):
    """A candidate that passed its gate becomes a release, if it holds up against what is in the channel."""

    candidate: str = Field(
        "", pattern=r"^[0-9a-f]{0,64}$", description="First digits of a candidate's digest; empty: the newest passed."
    )
    promote: PromoteParameters = Field(PromoteParameters(), description="Channel and what has to be reached.")


class RollbackParameters(Parameters):
    """A channel back to an earlier release."""

    reason: str = Field(min_length=3, max_length=500, description="Why; it is stored and shown with the revision.")
    release: int = Field(0, ge=0, description="Number of the release; 0: the one that the channel held before.")
    channel: str = Field(
        "stable", pattern=r"^[a-z0-9][a-z0-9-]{0,30}$", description="Small letters, digits and dashes."
    )


class FirmwareRunParameters(Parameters):
    """One board's image of a model that passed its gate."""

    board: str = Field(
        "mps2-an386", description="Board to build for and to verify on: mps2-an386, mps2-an500 or mps3-an547."
    )
    int8: str = Field("", pattern=_KEY, description=f"Key of the INT8 model's record{_OR_NEWEST}")
    report: str = Field("", pattern=_KEY, description=f"Key of its evaluation's record{_OR_NEWEST}")
    dataset: str = Field("", pattern=_KEY, description=f"Key of the data set's record{_OR_NEWEST}")
    golden_frames: int = Field(32, ge=5, le=10_000, description="Golden frames to prove the image on.")
    hysteresis: HysteresisParameters = Field(HysteresisParameters(), description="When a device says that it sees one.")
    limits: BoardLimits = Field(BoardLimits(), description="Limits that are tighter than the board's own; 0: its own.")
    seed: int = Field(0, ge=0, description="Seed of the choice of golden frames.")
    code_version: str = Field(
        "",
        pattern=r"^([0-9a-f]{64})?$",
        description="Version of the firmware's sources that the worker must have; empty: any.",
    )

    @model_validator(mode="after")
    def _all_records_or_none(self) -> Self:
        if len({bool(key) for key in (self.int8, self.report, self.dataset)}) > 1:
            raise ValueError("give int8, report and dataset together, or none of them for the newest passed candidate")
        return self

    @property
    def as_firmware(self) -> FirmwareParameters:
        """The same as parameters of a retrain that has this board alone."""
        return FirmwareParameters(
            boards=(self.board,),
            golden_frames=self.golden_frames,
            golden_frames_others=self.golden_frames,
            hysteresis=self.hysteresis,
            limits={self.board: self.limits},
            seed=self.seed,
        )


class SweepParameters(Parameters):
    """Compare architectures on the validation split (the test split never serves a choice)."""

    alphas: tuple[float, ...] = Field((0.35, 0.5), min_length=1, max_length=4, description="Width multipliers.")
    widths: tuple[int, ...] = Field((96, 160), min_length=1, max_length=6, description="Input widths; height is 3/4.")
    dataset: DatasetParameters = Field(DatasetParameters(), description="Which frames.")
    validation: ValidationParameters = Field(ValidationParameters(), description="What the data set must be like.")
    train: TrainParameters = Field(TrainParameters(), description="Training; alpha and input size come from above.")
    quantize: QuantizeParameters = Field(QuantizeParameters(), description="INT8 conversion.")
    evaluate: EvaluateParameters = Field(
        EvaluateParameters(split="val"), description="How the two models are compared; split must stay val."
    )

    @model_validator(mode="after")
    def _never_on_test(self) -> Self:
        if self.evaluate.split != "val":
            raise ValueError("a sweep is a choice, and the test split never serves one: leave evaluate.split at val")
        self.architectures()  # refuses a width that the model cannot have before anything is trained
        return self

    def architectures(self) -> list[TrainParameters]:
        """Every combination of `alphas` and `widths`, smallest first."""
        plain = self.train.model_dump()
        return [
            TrainParameters.model_validate({**plain, "alpha": alpha, "width": width, "height": width * 3 // 4})
            for width in sorted(set(self.widths))
            for alpha in sorted(set(self.alphas))
        ]
