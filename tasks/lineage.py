"""The frozen records that stages hand to each other: from a camera frame to a verdict, every parent by digest.

A record's `digest` is the SHA-256 of the fields named in `IDENTITY`, in canonical JSON. Those are its *inputs*
(parents' digests, parameters, code version), so that a rerun can ask whether its result exists before it does any
work; outputs are named by the SHA-256 of their bytes. Only the standard library and pydantic are imported here.
"""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tasks.parameters import (
    DatasetParameters,
    EvaluateParameters,
    GateLimits,
    QuantizeParameters,
    TrainParameters,
    ValidationParameters,
)
from tasks.record import Record, Sha256, digest_of

Label = Literal["no_person", "person"]
Split = Literal["train", "val", "test"]
CLASSES: tuple[Label, Label] = ("no_person", "person")  # position is the class id; person is the positive class
SPLITS: tuple[Split, Split, Split] = ("train", "val", "test")


class Frame(Record):
    """One frame as it lies in the bucket, and where its normalised pixels are packed."""

    IDENTITY = ("sha256",)
    sha256: Sha256  # of the object's bytes
    pixels_sha256: Sha256  # of the normalised 120 x 160 uint8 gray pixels: what "the same frame" means
    key: str
    device: str
    session: str
    captured_at: datetime | None
    label: Label
    label_source: Literal["metadata", "index"]
    split: Split
    split_source: Literal["imported", "assigned"]
    brightness: float  # mean gray level, 0..255
    contrast: float  # standard deviation of gray levels, 0..127.5
    shard: Sha256  # blob with the pixels, a .npy of uint8 (n, 120, 160)
    row: int


class DatasetVersion(Record):
    """The frames of one training run. `rows` digests the sorted (pixels_sha256, label, split, session) rows."""

    IDENTITY = ("rows", "parameters")
    rows: Sha256
    parameters: DatasetParameters
    parent: str | None  # digest of the data set version before this one in this bucket, if any
    index_revision: int
    manifest: Sha256  # blob: Parquet, one row a frame, the columns of Frame
    shards: tuple[Sha256, ...]
    counts: dict[Split, dict[Label, int]]
    sessions: dict[Split, int]
    devices: dict[str, dict[Label, int]]
    left_out: dict[str, int]  # reason -> frames in the index that are not in this version
    class_weights: dict[Label, float]

    @property
    def key(self) -> str:
        return f"datasets/{self.digest}/dataset.json"


class ExpectationOutcome(BaseModel):
    """What one expectation found."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str  # a sentence-like name, e.g. "one class has at most 60 % of split test"
    expectation: str  # Great Expectations type
    success: bool
    severity: str = "critical"
    observed: str = ""
    unexpected: int = 0
    examples: tuple[str, ...] = ()  # keys of example frames
    error: str = ""  # why it could not be evaluated: counts as failed


class ValidationOutcome(Record):
    """The checkpoint's result on one data set version."""

    IDENTITY = ("dataset", "suite", "parameters")
    dataset: str
    suite: Sha256  # digest of the suite file and of the custom expectations' code
    parameters: ValidationParameters
    success: bool
    expectations: tuple[ExpectationOutcome, ...]
    docs: str  # key prefix of the Data Docs site in the bucket

    @property
    def key(self) -> str:
        return f"datasets/{self.dataset}/validation-{self.digest}.json"


class EpochFigures(BaseModel):
    """One epoch of training."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    phase: Literal["head", "fine_tune"]
    epoch: int  # from 1, within the phase
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    seconds: float


class TrainedModel(Record):
    """The FP32 model. `model` is a blob: a .keras file that takes raw 0..255 frames (batch, height, width, 1)."""

    IDENTITY = ("dataset", "parameters", "initial_weights", "code_version")
    dataset: str
    parameters: TrainParameters
    initial_weights: str  # "imagenet", "none", or the SHA-256 of the file
    code_version: str
    model: Sha256
    curves: tuple[EpochFigures, ...]
    val_accuracy: float
    total_weights: int
    trained_weights: int
    seconds: float

    @property
    def key(self) -> str:
        return f"models/{self.digest}/model.json"


class TensorFacts(BaseModel):
    """An input or output tensor of a .tflite."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int


class Offender(BaseModel):
    """One reason why a .tflite is not fit for the device."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    # float_op, float_tensor, float_io, float_edge, hybrid_op, custom_op, unsupported_op, degenerate_scale,
    # bad_quantization, dynamic_shape, unsupported_tensor, bad_graph
    kind: str
    op: str  # operator name, "" for a tensor that no op explains
    tensor: str
    index: int  # operator index, or tensor index where op is ""
    cause: str
    fix: str


class Int8Model(Record):
    """The quantized model and what is inside it. Blobs: `tflite`, and `fp32_tflite` for the size comparison."""

    IDENTITY = ("model", "parameters", "code_version")
    model: str
    parameters: QuantizeParameters
    code_version: str
    tflite: Sha256
    size_bytes: int
    fp32_tflite: Sha256
    fp32_size_bytes: int
    input: TensorFacts
    output: TensorFacts
    ops: dict[str, int]
    macs: int
    activation_peak_bytes: int  # liveness lower bound of the tensor arena
    calibration: tuple[Sha256, ...]  # pixels_sha256 of the calibration frames, in order
    clean: bool
    offenders: tuple[Offender, ...]

    @property
    def key(self) -> str:
        return f"models/{self.model}/int8-{self.digest}.json"


class ModelMetrics(BaseModel):
    """Figures of one model on one set of frames. `confusion` is ((tn, fp), (fn, tp)), person positive."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    samples: int
    accuracy: float
    precision: float | None  # None where nothing was predicted person
    recall: float | None  # None where no frame is person
    auc: float | None  # None where only one class occurs
    confusion: tuple[tuple[int, int], tuple[int, int]]


class Slice(BaseModel):
    """The same figures on the frames of one device."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    samples: int
    sessions: int
    fp32: ModelMetrics
    int8: ModelMetrics


class Degradation(BaseModel):
    """Paired difference of accuracy FP32 - INT8 on the same frames, as fractions (0.01 is one point)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    point: float
    bound: float  # one-sided 95 % upper bound
    method: Literal["session_bootstrap", "exact"]
    frames: int
    sessions: int
    lost: int  # frames that FP32 has right and INT8 wrong
    gained: int  # frames that FP32 has wrong and INT8 right


class LayerError(BaseModel):
    """What an operator of the INT8 model loses against FP32. Signal-to-noise ratios in dB, -120..120 (120: nothing)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    operator: int  # index in execution order
    op: str  # CONV_2D
    name: str  # of the layer, short; no other operator of the model has it
    snr_db: float  # of its output as the model runs: all operators up to this one
    own_snr_db: float  # of its output to exact inputs: this operator alone
    drop_db: float | None  # worst of its inputs' snr_db minus its own; None where its inputs have no error
    saturated: float  # share of FP32's values that its INT8 range cannot hold, 0..1


class Report(Record):
    """FP32 against INT8 on the same test frames. `scores` is a Parquet blob with one row a frame:
    pixels_sha256, key, device, session, label, fp32_score, int8_score (0..1), shard, row."""

    IDENTITY = ("int8", "dataset", "parameters", "code_version")
    int8: str
    dataset: str
    parameters: EvaluateParameters
    code_version: str
    fp32: ModelMetrics
    quantized: ModelMetrics
    degradation: Degradation
    slices: tuple[Slice, ...]
    scores: Sha256
    kernels: str  # which interpreter judged, with its version
    seconds: float
    layers: tuple[LayerError, ...] = ()  # in execution order; see tasks.layer_error.worst_layers
    layers_left_out: int = 0  # operators of the INT8 model without a counterpart in FP32

    @property
    def key(self) -> str:
        return f"models/reports/{self.digest}/report.json"


class Rule(BaseModel):
    """One rule of the gate."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    passed: bool
    figure: float | None
    limit: float | None
    reason: str  # a sentence: what was found, against what limit


class Verdict(Record):
    """Pass or reject, with every rule."""

    IDENTITY = ("report", "int8", "limits")
    report: str
    int8: str
    limits: GateLimits
    passed: bool
    rules: tuple[Rule, ...]

    @property
    def key(self) -> str:
        return f"models/verdicts/{self.digest}.json"


class Candidate(Record):
    """One finished run, by digests: what `f2f export`, firmware and promotion start from."""

    IDENTITY = ("dataset", "validation", "model", "int8", "report", "verdict", "firmware")
    dataset: str
    validation: str
    model: str
    int8: str
    report: str | None  # None where the model was not fit to be evaluated
    verdict: str
    firmware: tuple[str, ...] = ()  # digests of its images, one a board
    passed: bool
    html: str  # key of the report page
    decided_at: datetime
    records: dict[str, str]  # name -> key; not called keys, or dict(candidate) takes it for a mapping

    @classmethod
    def digest_for(cls, **identity: object) -> str:
        """As for every record. Without firmware it is the digest that candidates had before there was any."""
        if identity.get("firmware"):
            return super().digest_for(**identity)
        return digest_of({"record": cls.__name__, **{k: v for k, v in identity.items() if k != "firmware"}})

    @property
    def key(self) -> str:
        return f"models/candidates/{self.decided_at:%Y%m%dT%H%M%S}Z-{self.digest[:16]}.json"
