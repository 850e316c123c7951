"""The contract between this project and its firmware: what is known of a model when its firmware is compiled.

Written here, read by the Rust crate `firmware/contract`, which generates the op resolver, the tensor facts, the arena
and the thresholds from it: none of them is ever typed. `firmware/contract/contract.schema.json` is the JSON schema of
`Contract`; both sides test themselves against it and against `firmware/contract/examples/`.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.errors import PipelineError
from tasks.flatbuffer import Audit, audit
from tasks.kernels import Refused, input_table, tflite_tensors
from tasks.lineage import TensorFacts
from tasks.parameters import HysteresisParameters
from tasks.tflm_support import Revision

VERSION = 1
CAMERA = (160, 120)  # width and height of a frame
MAX_INPUT_WIDTH = 320  # the firmware's resizer keeps rows of this width on its stack
MAX_INPUT_HEIGHT = 4096
MAX_OUTPUT_BYTES = 1 << 22  # far more than any score or feature map; what is larger is a mistake
# The audit lets these pass where TFLM runs them; the firmware has no kernel for them (firmware/tflm-sys/ops.rs):
# control flow and recurrence need subgraphs or state, and an integer DEQUANTIZE is an oddity of 2020.
WITHOUT_KERNEL = frozenset({"DEQUANTIZE", "IF", "UNIDIRECTIONAL_SEQUENCE_LSTM", "WHILE"})
SCHEMA = Path(__file__).resolve().parent.parent / "firmware" / "contract" / "contract.schema.json"


class NotDeployable(PipelineError):
    """A model that this firmware cannot run, by name and with a way out."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelFile(_Part):
    """A model by size and content."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=1, lt=1 << 32)]


class Tensor(_Part):
    """A quantized tensor."""

    element: Literal["int8", "uint8"]
    shape: Annotated[tuple[Annotated[int, Field(ge=1, lt=1 << 31)], ...], Field(min_length=1, max_length=6)]
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)]  # exactly a float32
    zero_point: Annotated[int, Field(ge=-128, le=255)]


class Size(_Part):
    """Pixels."""

    width: Annotated[int, Field(ge=1, le=4096)]
    height: Annotated[int, Field(ge=1, le=4096)]


class Flip(_Part):
    """Input bytes are `x ^ 0x80`: int8 with scale 1 and zero point -128."""

    kind: Literal["flip"]


class Same(_Part):
    """Input bytes are the gray levels: uint8 with scale 1 and zero point 0."""

    kind: Literal["same"]


class Table(_Part):
    """The input byte (0..255, as it lies in memory) of each gray level."""

    kind: Literal["table"]
    table: Annotated[tuple[Annotated[int, Field(ge=0, le=255)], ...], Field(min_length=256, max_length=256)]


class Decision(_Part):
    """Thresholds and hysteresis, in the output's own steps and in frames: no arithmetic on the device can move them."""

    outputs: Literal[1, 2]  # the score of person; or no_person, person, whose difference is the score
    enter: Annotated[int, Field(ge=-255, le=255)]  # smallest score that speaks for a person
    leave: Annotated[int, Field(ge=-255, le=255)]  # smallest score that does not speak against one
    enter_frames: Annotated[int, Field(ge=1, le=65535)]
    leave_frames: Annotated[int, Field(ge=1, le=65535)]
    stale_after_ms: Annotated[int, Field(ge=1, lt=1 << 32)]


class Contract(_Part):
    """Everything that a firmware is compiled with, besides the model itself."""

    contract: Literal[1]
    model: ModelFile
    operators: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[A-Z0-9_]+$")], ...], Field(min_length=1, description="sorted, each once")
    ]
    input: Tensor
    output: Tensor
    camera: Size
    feeding: Annotated[Flip | Same | Table, Field(discriminator="kind")]
    arena_bytes: Annotated[int, Field(ge=16, lt=1 << 32, multiple_of=16)]
    decision: Decision | None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if list(self.operators) != sorted(set(self.operators)):
            raise ValueError("operators must be sorted names, each once")
        shape = self.input.shape
        if not _is_one_image(shape):
            raise ValueError(f"input.shape {shape}: the firmware feeds 1 x height x width (at most 320) x 1 or 3")
        for name, tensor in (("input", self.input), ("output", self.output)):
            with np.errstate(over="ignore"):
                if float(np.float32(tensor.scale)) != tensor.scale:
                    raise ValueError(f"{name}.scale {tensor.scale} is no float32")
            limits = np.iinfo(tensor.element)
            if not limits.min <= tensor.zero_point <= limits.max:
                raise ValueError(f"{name}.zero_point {tensor.zero_point} does not fit {tensor.element}")
        if math.prod(self.output.shape) > MAX_OUTPUT_BYTES:
            raise ValueError(f"output.shape {self.output.shape}: more than {MAX_OUTPUT_BYTES} values")
        if self.decision:
            if math.prod(self.output.shape) != self.decision.outputs:
                found = math.prod(self.output.shape)
                raise ValueError(f"decision.outputs is {self.decision.outputs}, the model gives {found} values")
            if self.decision.leave > self.decision.enter:
                raise ValueError("decision.leave is above decision.enter")
        return self

    def text(self) -> str:
        """The contract as JSON, as the Rust side reads it."""
        return self.model_dump_json(indent=1) + "\n"


def _is_one_image(shape: Sequence[int]) -> bool:
    """Whether the firmware can feed an input of this shape."""
    if len(shape) != 4:
        return False
    batch, height, width, channels = shape
    return batch == 1 and height <= MAX_INPUT_HEIGHT and width <= MAX_INPUT_WIDTH and channels in (1, 3)


def checked(model: bytes, revision: Revision) -> Audit:
    """The audit of a model that the firmware can run. Raises `NotAModel` or `NotDeployable`, which names the reason."""
    found = audit(model, tflm=revision)
    if not found.clean:
        first, others = found.offenders[0], len(found.offenders) - 1
        what = f"{first.kind} {first.op or first.tensor}: {first.cause}" + (f" (and {others} more)" if others else "")
        if revision == "registry" and audit(model, tflm="upstream").clean:
            raise NotDeployable(
                f"today's TFLM runs this model, but TFLM as the crate registry has it (July 2020) does not: {what}",
                next_step="either build with upstream's TFLM (`f2f firmware sources`, then set TFLM_DIR as it says), "
                f"or change the model: {first.fix}",
            )
        raise NotDeployable(
            f"the model is not fit for the device: {what}", next_step=f"{first.fix}; `f2f audit` lists every reason"
        )
    facts = found.facts
    if absent := sorted(WITHOUT_KERNEL & facts.ops.keys()):
        raise NotDeployable(
            f"the firmware has no kernel for {', '.join(absent)}",
            next_step="export the network without control flow and recurrence, full INT8 from input to output",
        )
    if len(facts.inputs) != 1 or len(facts.outputs) != 1:
        raise NotDeployable(
            f"the model has {len(facts.inputs)} inputs and {len(facts.outputs)} outputs, one each is needed"
        )
    shape = facts.inputs[0].shape
    if not _is_one_image(shape):
        raise NotDeployable(
            f"the model's input is {' x '.join(map(str, shape))}; the firmware feeds one image, "
            f"1 x height x width (at most {MAX_INPUT_WIDTH}) x 1 or 3 channels"
        )
    for name, tensor in (("input", facts.inputs[0]), ("output", facts.outputs[0])):
        if tensor.dtype not in ("int8", "uint8"):
            raise NotDeployable(
                f"the model's {name} is {tensor.dtype}; the firmware takes int8 and uint8",
                next_step="convert it with io_type int8 (`f2f retrain io_type=int8`)",
            )
    if math.prod(facts.outputs[0].shape) > MAX_OUTPUT_BYTES:
        raise NotDeployable(
            f"the model's output has {math.prod(facts.outputs[0].shape)} values, at most {MAX_OUTPUT_BYTES} are taken"
        )
    return found


def make_contract(
    model: bytes, found: Audit, arena_bytes: int, threshold: float | None, hysteresis: HysteresisParameters
) -> Contract:
    """The contract of an audited model. `threshold` (0..1) None: a model that is no detector.

    Raises `NotDeployable` where the input's quantization does not show how gray levels map to it, and where a threshold
    is asked for and the output is neither a score nor a pair of them.
    """
    facts = found.facts
    into, out = _tensor(facts.inputs[0]), _tensor(facts.outputs[0])
    return Contract(
        contract=VERSION,
        model=ModelFile(sha256=hashlib.sha256(model).hexdigest(), bytes=len(model)),
        operators=tuple(sorted(facts.ops)),
        input=into,
        output=out,
        camera=Size(width=CAMERA[0], height=CAMERA[1]),
        feeding=_feeding(model),
        arena_bytes=arena_bytes,
        decision=thresholds(out, threshold, hysteresis) if threshold is not None else None,
    )


def thresholds(output: Tensor, threshold: float, hysteresis: HysteresisParameters) -> Decision:
    """Scores 0..1 in steps of a quantized output, rounded up: the smallest output whose score reaches them.

    Raises `NotDeployable` where no output could ever speak for a person, or none against one.
    """
    values = math.prod(output.shape)
    if values not in (1, 2):
        raise NotDeployable(f"the output has {values} values; a detector has one score, or two: no_person, person")
    leave = max(threshold - hysteresis.margin, 0.0)
    if values == 1:
        limits = np.iinfo(output.element)
        steps = np.arange(int(limits.min), int(limits.max) + 1)
        scores = (steps - output.zero_point) * output.scale
        if scores[0] < -0.01 or scores[-1] > 1.01:  # a logit, as tasks/scores.py takes it
            scores = 0.5 * (1.0 + np.tanh(scores / 2))
    else:  # probabilities that sum to one: p = (1 + person - no_person) / 2; logits: p = sigmoid(person - no_person)
        steps = np.arange(-255, 256)
        difference = steps * output.scale
        probabilities = 255 * output.scale <= 1.01
        scores = (1 + difference) / 2 if probabilities else 0.5 * (1.0 + np.tanh(difference / 2))
    first = [int(np.searchsorted(scores, at)) for at in (threshold, leave)]  # the first that is not below
    if first[0] == len(steps):
        raise NotDeployable(
            f"no output of the model reaches the threshold {threshold:g}: its highest score is {scores[-1]:.4g}",
            next_step="choose a lower threshold",
        )
    if first[1] == 0:
        raise NotDeployable(
            f"no output of the model is below {leave:g} (threshold {threshold:g} less margin {hysteresis.margin:g}): "
            "a person once seen would be seen for ever",
            next_step="choose a smaller hysteresis margin or a higher threshold",
        )
    return Decision(
        outputs=1 if values == 1 else 2,
        enter=int(steps[first[0]]),
        leave=int(steps[first[1]]),
        enter_frames=hysteresis.enter_frames,
        leave_frames=hysteresis.leave_frames,
        stale_after_ms=hysteresis.stale_after_ms,
    )


def _tensor(facts: TensorFacts) -> Tensor:
    # float(np.float32) is exact, and JSON keeps every digit of a double.
    scale = float(np.float32(facts.scale))
    element: Literal["int8", "uint8"] = "uint8" if facts.dtype == "uint8" else "int8"
    return Tensor(element=element, shape=facts.shape, scale=scale, zero_point=facts.zero_point)


def _feeding(model: bytes) -> Flip | Same | Table:
    """What evaluation does to gray levels (tasks/kernels.py), as bytes in the device's memory."""
    try:
        table, _ = input_table(tflite_tensors(model)[0], "auto")
    except Refused as refused:
        raise NotDeployable(
            f"the model cannot be fed: {refused.reason}",
            next_step="convert it so that it takes raw gray levels 0..255 (rescale inside the model)",
        ) from refused
    levels = np.arange(256, dtype=np.uint8)
    as_bytes = table.view(np.uint8)
    if (as_bytes == levels ^ 0x80).all():
        return Flip(kind="flip")
    if (as_bytes == levels).all():
        return Same(kind="same")
    return Table(kind="table", table=tuple(int(byte) for byte in as_bytes))


def schema_text() -> str:
    """The JSON schema of `Contract`, as it lies in the firmware."""
    return json.dumps(Contract.model_json_schema(), indent=1) + "\n"


if __name__ == "__main__":  # after a change of this file
    SCHEMA.write_text(schema_text())
