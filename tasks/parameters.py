"""What a run does: one bounded, described model per stage (where things are is in settings.py).

The flows compose these into their own parameter model, which is the form in the Prefect UI; descriptions are written
for that form. Only pydantic is imported here.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
_WRITTEN = {"io": "I/O", "tflm": "TFLM", "int8": "INT8", "ram": "RAM", "ms": "(ms)", "val": "validation"}


def _title(name: str, _: object) -> str:
    """What a field is called in the form. Without it a group bears the name of its class there."""
    words = " ".join(_WRITTEN.get(word, word) for word in name.split("_"))
    return words[0].upper() + words[1:]


def _tell_bounds(schema: dict[str, Any]) -> None:
    """Bounds into the descriptions: a form shows those, and the schema's own bounds only once a value broke them."""
    for field in schema.get("properties", {}).values():
        items = " items" if field.get("type") == "array" else ""
        least, most = field.get("minimum", field.get("minItems")), field.get("maximum", field.get("maxItems"))
        above, below, steps = (field.get(name) for name in ("exclusiveMinimum", "exclusiveMaximum", "multipleOf"))
        told = [f"above {above:,.9g}"] if above is not None else []
        if least is not None and most is not None:
            told.append(f"{least:,.9g} to {most:,.9g}{items}")
        elif most is not None:
            told.append(f"at most {most:,.9g}{items}")
        elif least:  # that nothing is below 0 goes without saying
            told.append(f"at least {least:,.9g}{items}")
        told += [f"below {below:,.9g}"] if below is not None else []
        told += [f"in steps of {steps:,.9g}"] if steps is not None else []
        if "minLength" in field:
            told.append(f"{field['minLength']} to {field['maxLength']} characters")
        if told:
            field["description"] = f"{field.get('description', '')} [{', '.join(told)}]".strip()


class Parameters(BaseModel):
    """Base of all parameter models: unknown names are refused, values never change after the check."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        field_title_generator=_title,
        json_schema_extra=_tell_bounds,
    )


class SplitParameters(Parameters):
    """How sessions that come without a split are dealt out."""

    train: Fraction = Field(0.70, description="Share of frames for training.")
    val: Fraction = Field(0.15, description="Share of frames for early stopping and learning-rate decisions.")
    test: Fraction = Field(0.15, description="Share of frames for the verdict; never used for a choice.")


class DatasetParameters(Parameters):
    """Which frames of the index make up the data set."""

    balance: Literal["undersample", "weights", "none"] = Field(
        "undersample",
        description="Class balancing. undersample: drop frames of the larger class in every split; "
        "weights: keep all, weight the loss; none: keep all.",
    )
    devices: tuple[str, ...] = Field((), description="Use frames of these devices only; empty: all.")
    max_frames: int = Field(0, ge=0, description="Take at most this many frames, whole sessions, seeded; 0: all.")
    seed: int = Field(0, ge=0, description="Seed of every choice made here.")


class ValidationParameters(Parameters):
    """Limits of the Great Expectations suite."""

    min_frames_train: int = Field(1000, ge=2, description="Fewest training frames, both classes together.")
    min_frames_val: int = Field(100, ge=2, description="Fewest validation frames.")
    min_frames_test: int = Field(200, ge=2, description="Fewest test frames.")
    max_class_share: float = Field(0.6, ge=0.5, le=1.0, description="Largest share of one class in any split.")
    min_brightness: float = Field(1.0, ge=0, le=255, description="Smallest mean gray level of a frame (0..255).")
    max_brightness: float = Field(253.0, ge=0, le=255, description="Largest mean gray level of a frame (0..255).")
    min_contrast: float = Field(0.5, ge=0, le=128, description="Smallest standard deviation of a frame's gray levels.")


class DataCheckParameters(Parameters):
    """Limits of the checks that look at the pictures (`f2f data check`)."""

    max_class_share: float = Field(0.6, ge=0.5, le=1.0, description="Largest share of one class in any split.")
    sure_similarity: float = Field(
        0.8, ge=0.5, le=1.0, description="Similarity of two pictures in two splits from which on they block."
    )
    min_repeats: int = Field(3, ge=2, le=1000, description="Times that a device sends the same pixels: stuck.")
    max_dark: Fraction = Field(0.75, description="Largest share of black pixels (gray level 4 or below).")
    max_bright: Fraction = Field(0.5, description="Largest share of white pixels (gray level 251 or above).")
    low_contrast: float = Field(
        5.0, ge=0, le=128, description="Standard deviation of gray levels: below, a frame is flat."
    )
    max_shortcut_accuracy: float = Field(
        0.75,
        ge=0.5,
        le=1.0,
        description="Balanced accuracy of brightness, contrast and the like alone: above, it warns.",
    )
    drift_false_alarm_rate: float = Field(
        0.01, ge=0.0001, le=0.2, description="Chance of a warning about any device although nothing drifted."
    )
    min_sharpness: float = Field(
        0.004, ge=0, le=10, description="Variance of the Laplacian over that of the gray levels: below, it is blurred."
    )


class TrainParameters(Parameters):
    """MobileNetV2 and its two training phases."""

    alpha: float = Field(
        0.5, description="Width multiplier of MobileNetV2.", json_schema_extra={"enum": [0.35, 0.5, 0.75, 1.0]}
    )
    width: int = Field(160, ge=32, le=320, multiple_of=32, description="Model input width in pixels.")
    height: int = Field(120, ge=24, le=240, multiple_of=24, description="Model input height in pixels.")
    weights: str = Field(
        "imagenet",
        description="Initial weights: imagenet (fetched by Keras), none (all layers train from scratch), "
        "or the path or s3:// key of a .keras file.",
    )
    batch_size: int = Field(32, ge=1, le=512, description="Frames per training step.")
    head_epochs: int = Field(5, ge=0, le=100, description="Most epochs with the backbone frozen.")
    head_learning_rate: float = Field(1e-3, gt=0, le=1, description="Adam's rate in the head phase.")
    head_feature_variants: int = Field(
        0,
        ge=0,
        le=100,
        description="Head phase on cached backbone features: of this many augmented variants of every frame. "
        "0: augment every epoch anew. Without augmentation features are always cached.",
    )
    fine_tune_epochs: int = Field(10, ge=0, le=200, description="Most epochs with the top layers unfrozen.")
    fine_tune_learning_rate: float = Field(1e-4, gt=0, le=1, description="Adam's peak rate in the fine-tuning phase.")
    fine_tune_layers: int = Field(60, ge=-1, le=200, description="Layers unfrozen from the top; -1: all.")
    schedule: Literal["plateau", "cosine"] = Field(
        "plateau",
        description="Learning rate while fine-tuning. plateau: constant, halved when val_loss stalls; "
        "cosine: falls to zero over fine_tune_epochs, for a training of known length.",
    )
    warmup_epochs: float = Field(
        0.0, ge=0, le=10, description="Epochs over which cosine's rate first rises to its peak; parts of one are fine."
    )
    weight_decay: float = Field(
        0.0, ge=0, le=1, description="Decoupled weight decay while fine-tuning (AdamW); 0: Adam."
    )
    patience: int = Field(4, ge=1, le=100, description="Epochs without improvement of val_loss before a phase ends.")
    dropout: float = Field(0.2, ge=0, lt=1, description="Dropout before the head.")
    augment: bool = Field(True, description="Geometry, brightness and camera effects on training frames.")
    camera_effects_share: Fraction = Field(
        0.3, description="Share of training frames that get noise, motion blur, defocus or JPEG artefacts."
    )
    seed: int = Field(0, ge=0, description="Seed of weights, shuffling and augmentation.")

    @field_validator("alpha")
    @classmethod
    def _a_width_that_mobilenet_has(cls, alpha: float) -> float:
        if alpha not in (0.35, 0.5, 0.75, 1.0):
            raise ValueError("alpha is one of 0.35, 0.5, 0.75, 1.0 (the widths with ImageNet weights)")
        return alpha


class QuantizeParameters(Parameters):
    """Full-integer conversion."""

    io_type: Literal["int8", "uint8"] = Field("int8", description="Type of the model's input and output tensors.")
    calibration_frames: int = Field(256, ge=16, le=4096, description="Class-balanced train frames to calibrate on.")
    tflm: Literal["upstream", "registry"] = Field(
        "upstream", description="TFLM revision whose kernels must be able to run the model."
    )
    seed: int = Field(0, ge=0, description="Seed of the choice of calibration frames.")


class EvaluateParameters(Parameters):
    """FP32 against INT8 on the same test frames."""

    split: Literal["test", "val"] = Field(
        "test",
        description="test for a verdict; val where architectures are compared, since test never serves a choice.",
    )
    threshold: float = Field(0.5, gt=0, lt=1, description="Score from which a frame counts as person.")
    max_frames: int = Field(0, ge=0, description="Evaluate at most this many test frames, seeded; 0: all.")
    workers: int = Field(0, ge=0, le=256, description="Processes for INT8 evaluation; 0: one per core.")
    bootstrap_rounds: int = Field(10_000, ge=100, le=1_000_000, description="Resamples of sessions for the bound.")
    layer_frames: int = Field(
        16,
        ge=0,
        le=256,
        description="Evaluated frames, class-balanced, on which every layer is compared with FP32; 0: no such figures.",
    )
    seed: int = Field(0, ge=0, description="Seed of the bootstrap, of max_frames and of layer_frames.")


class GateLimits(Parameters):
    """What a candidate must reach. Accuracies and degradations are fractions: 0.005 is half a point."""

    min_accuracy: Fraction = Field(0.90, description="Smallest INT8 accuracy on test.")
    min_recall: Fraction = Field(0.85, description="Smallest INT8 recall of person on test.")
    max_degradation: float = Field(0.005, ge=-1, le=1, description="Largest accuracy loss FP32 - INT8.")
    max_degradation_bound: float = Field(
        0.010, ge=-1, le=1, description="Largest one-sided 95 % upper bound of that loss."
    )
    max_size_bytes: int = Field(1_500_000, ge=1, description="Largest INT8 file in bytes.")
    min_test_frames: int = Field(299, ge=1, description="Fewest test frames to decide on (299 bound 1 point).")


class HysteresisParameters(Parameters):
    """When a device says that it sees a person, once the threshold says what a frame speaks for."""

    margin: float = Field(
        0.1, ge=0, lt=1, description="How far below the threshold a score (0..1) must fall to speak against a person."
    )
    enter_frames: int = Field(2, ge=1, le=1000, description="Frames in a row that must speak for a person.")
    leave_frames: int = Field(3, ge=1, le=1000, description="Frames in a row that must speak against one.")
    stale_after_ms: int = Field(2000, ge=1, le=3_600_000, description="Age beyond which an answer is called stale.")


class BoardLimits(Parameters):
    """Limits of one board that are tighter than its own. 0: the board's own (`f2f firmware boards` lists them)."""

    flash_bytes: int = Field(0, ge=0, description="Flash that an image may take, weights included.")
    ram_bytes: int = Field(0, ge=0, description="RAM that an image may take, arena and stack included.")
    max_instructions: int = Field(0, ge=0, description="Instructions that an inference may take.")


class FirmwareParameters(Parameters):
    """The firmware images of a model that passed its gate, and how they are verified in an emulator."""

    boards: tuple[str, ...] = Field(
        ("mps2-an386", "mps2-an500", "mps3-an547"),
        description="Boards to build for and to verify on (Cortex-M4F, M7, M55). Empty: no firmware.",
    )
    golden_frames: int = Field(32, ge=5, le=10_000, description="Golden frames on the first board.")
    golden_frames_others: int = Field(8, ge=5, le=10_000, description="Golden frames on each of the others.")
    hysteresis: HysteresisParameters = Field(HysteresisParameters(), description="When a device says that it sees one.")
    limits: dict[str, BoardLimits] = Field(
        default_factory=dict, description='Tighter limits by board, e.g. {"mps2-an386": {"ram_bytes": 600000}}.'
    )
    seed: int = Field(0, ge=0, description="Seed of the choice of golden frames.")
    build: Literal["here", "queue"] = Field(
        "here",
        description="Where images are built. here: by the worker that trains; queue: every board in a run of its own "
        "(firmware/firmware) on any worker that serves the work queue firmware.",
    )
    wait_minutes: float = Field(
        240.0,
        gt=0,
        le=20_160,
        description="build=queue: longest wait for one board's run, its time in the queue included.",
    )

    @field_validator("boards")
    @classmethod
    def _each_board_once(cls, boards: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(boards)) != len(boards):
            raise ValueError("a board is named twice")
        return boards


class ComparisonParameters(Parameters):
    """A candidate against the model in the channel. Fractions: 0.01 is one point."""

    max_behind_bound: float = Field(
        0.010,
        ge=0,
        le=1,
        description="A candidate that is not better than the model in the channel may be behind by at most this much: "
        "one-sided 95 % upper bound of the accuracy difference on the same test frames.",
    )
    min_slice_accuracy: Fraction = Field(0.80, description="Smallest INT8 accuracy on the test frames of any device.")
    min_slice_frames: int = Field(50, ge=1, description="Devices with fewer test frames have no floor.")
    slice_floors: dict[str, Fraction] = Field(
        default_factory=dict, description='Floors of single devices, e.g. {"hall-cam": 0.95}.'
    )
    workers: int = Field(0, ge=0, le=256, description="Processes that run the channel's model; 0: one per core.")
    bootstrap_rounds: int = Field(10_000, ge=100, le=1_000_000, description="Resamples of sessions for the bound.")
    seed: int = Field(0, ge=0, description="Seed of the bootstrap.")


class PromoteParameters(Parameters):
    """Whether a passed candidate becomes a release and moves the channel."""

    channel: str = Field(
        "stable",
        pattern=r"^[a-z0-9][a-z0-9-]{0,30}$",
        description="Channel that devices get their release from: small letters, digits and dashes.",
    )
    dry_run: bool = Field(True, description="Only compare and say what would happen; publish nothing.")
    compare: ComparisonParameters = Field(ComparisonParameters(), description="What the candidate has to reach.")


class WatchPolicy(Parameters):
    """When a retrain is started by itself. New frames are labelled ones that the newest retrain did not have."""

    min_new_per_class: int = Field(
        200, ge=1, le=10_000_000, description="Retrain at this many new frames of each class; the first one, too."
    )
    min_new_fraction: float = Field(
        0.1, gt=0, le=100, description="Or at this many new frames, as a fraction of those that the newest retrain had."
    )
    min_new_frames: int = Field(50, ge=1, le=10_000_000, description="Fewer new frames than this are no such fraction.")
    max_age_days: float = Field(
        30.0, ge=0, le=3650, description="Or when the newest retrain is this old and there is a new frame; 0: never."
    )
    max_resumes: int = Field(5, ge=0, le=100, description="How often a retrain that crashed is resumed.")
    device_silent_hours: float = Field(
        24.0, ge=0, le=8760, description="A device is silent when nothing came from it for this long; 0: never."
    )
