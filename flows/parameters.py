"""The parameter model of each flow: bounded and described, since it is the form in the Prefect UI."""

from typing import Self

from pydantic import Field, model_validator

from tasks.parameters import (
    DatasetParameters,
    EvaluateParameters,
    FirmwareParameters,
    GateLimits,
    Parameters,
    QuantizeParameters,
    SplitParameters,
    TrainParameters,
    ValidationParameters,
)


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
    evaluate: EvaluateParameters = Field(EvaluateParameters(), description="How the two models are compared.")
    limits: GateLimits = Field(GateLimits(), description="What the candidate must reach.")
    firmware: FirmwareParameters = Field(FirmwareParameters(), description="Images of a model that passed.")

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
