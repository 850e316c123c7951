"""The audit against the real TFLM interpreter (package tflite-micro): what is clean runs, what is refused does not.

Only the upstream revision can be run here; the table of the registry's revision was tried on a build of the crate's
sources with the same models. Not covered: values that the kernels compute.
"""

import random
from pathlib import Path

import pytest

from tasks.flatbuffer import audit
from tasks.tflite_file import read_model
from tasks.tflm_support import SUPPORTED, runs, signature
from tests.tasks import hand_built_models
from tests.tasks.hand_built_models import OPERATORS, SHAPE, Op, T, build, clean_conv, one_operator
from tests.tasks.tflm_judge import judged

TYPES = ("int8", "uint8", "int16", "int32", "int64", "bool")
# Their kernels read whatever they get as bool without a look at the type: they run, and compute nonsense.
UNCHECKED = {"LOGICAL_AND", "LOGICAL_OR"}


def test_the_table_agrees_with_the_interpreter_for_every_operator_and_type(tmp_path: Path) -> None:
    models = {f"{op}.{dtype}": one_operator(op, dtype) for op in OPERATORS for dtype in TYPES}
    verdicts = judged(models, tmp_path)
    assert len(verdicts) == len(models)
    wrong = []
    for name, data in models.items():
        graph = read_model(data).subgraphs[0]
        op = graph.operators[0]
        inputs = [graph.tensors[i].dtype for i in op.inputs]
        outputs = [graph.tensors[i].dtype for i in op.outputs]
        listed = runs(op.name, inputs, outputs, "upstream")
        if listed != (verdicts[name] == 0) and op.name not in UNCHECKED:
            wrong.append(f"{op.name} {signature(inputs, outputs)}: table {listed}, TFLM {verdicts[name]}")
    assert not wrong
    assert 150 < sum(code == 0 for code in verdicts.values()) < len(models) - 150  # both answers are exercised


def test_every_listed_operator_is_tried_but_control_flow_and_recurrence() -> None:
    untried = {"IF", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM", "WHILE"}
    assert set(SUPPORTED["upstream"]) - set(OPERATORS) == untried
    assert set(SUPPORTED["registry"]) - set(OPERATORS) == {"SVDF"}


def test_no_scale_that_the_audit_lets_through_stops_the_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scales over many magnitudes: what is clean runs, whatever aborts the process was refused."""
    rng = random.Random(5)
    build_as_given = hand_built_models.build

    def scattered(tensors: list[T], *args: object) -> bytes:
        for tensor in tensors:
            if tensor.scale is not None and tensor.dtype in ("int8", "int16"):
                tensor.scale = 10 ** rng.uniform(-11, 3)
                tensor.zero_point = rng.choice((-128, 0, 5)) if tensor.dtype == "int8" and tensor.data is None else 0
        return build_as_given(tensors, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(hand_built_models, "build", scattered)
    operators = [op for op in OPERATORS if op != "RSQRT"]  # it refuses negative inputs, which no file can tell
    models = {f"{op}.{t}.{n}": one_operator(op, t) for op in operators for t in ("int8", "int16") for n in range(3)}
    verdicts = judged(models, tmp_path)
    stopped = {name: code for name, code in verdicts.items() if code != 0}
    assert [name for name in stopped if audit(models[name]).clean] == []
    aborted = [name for name, code in stopped.items() if code < 0]
    assert aborted, "no scale aborted the interpreter: nothing was shown"
    for name in aborted:
        assert {o.kind for o in audit(models[name]).offenders} & {"degenerate_scale", "bad_quantization"}, name


def test_what_single_rules_refuse_is_refused_by_the_interpreter_too(tmp_path: Path) -> None:
    computed = [T(SHAPE), T((4,), "int32", None), T((1, 2, 4, 4))]
    two_scales = [T(SHAPE), T(SHAPE, scale=0.07), T((1, 4, 4, 4))]
    concatenation = hand_built_models.options("ConcatenationOptions", axis=3)
    models = {
        "clean": clean_conv(),
        "computed_axis": build(
            computed, [Op("TRANSPOSE", (0, 1), (2,), hand_built_models.options("TransposeOptions"))], (0, 1), (2,)
        ),
        "two_scales": build(two_scales, [Op("CONCATENATION", (0, 1), (2,), concatenation)], (0, 1), (2,)),
        "channels": clean_conv(w=T((3, 1, 1, 2), scale=[0.1] * 2, zero_point=[0] * 2, data=1)),
        "hybrid": build(
            [T(SHAPE, "float32", None), T((3, 1, 1, 2), data=1), T((1, 4, 4, 3), "float32", None)],
            [Op("CONV_2D", (0, 1, -1), (2,), hand_built_models.CONV)],
            (0,),
            (2,),
        ),
        "custom": build([T(SHAPE), T(SHAPE)], [Op("CUSTOM", (0,), (1,), custom_code="MyOp")], (0,), (1,)),
    }
    verdicts = judged(models, tmp_path)
    for name, data in models.items():
        assert (verdicts[name] == 0) == audit(data).clean == (name == "clean"), name
