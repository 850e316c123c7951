"""Records for tests of the evaluation and the gate: valid, small, and no more true than a test needs."""

import hashlib

from tasks.lineage import (
    DatasetVersion,
    Degradation,
    Int8Model,
    ModelMetrics,
    Offender,
    Report,
    TensorFacts,
    TrainedModel,
)
from tasks.parameters import DatasetParameters, EvaluateParameters, QuantizeParameters, TrainParameters

NOTHING = hashlib.sha256(b"").hexdigest()
OFFENDER = Offender(kind="float_op", op="SIN", tensor="x", index=3, cause="no INT8 kernel", fix="use another op")


def dataset_version() -> DatasetVersion:
    return DatasetVersion(
        rows=NOTHING,
        parameters=DatasetParameters(),
        parent=None,
        index_revision=1,
        manifest=NOTHING,
        shards=(),
        counts={},
        sessions={},
        devices={},
        left_out={},
        class_weights={},
    )


def trained_model(dataset: DatasetVersion, model: str = NOTHING) -> TrainedModel:
    return TrainedModel(
        dataset=dataset.digest,
        parameters=TrainParameters(),
        initial_weights="none",
        code_version="test",
        model=model,
        curves=(),
        val_accuracy=1.0,
        total_weights=2,
        trained_weights=2,
        seconds=1.0,
    )


def int8_model(
    trained: TrainedModel, tflite: str = NOTHING, *, size: int = 1000, offenders: tuple[Offender, ...] = ()
) -> Int8Model:
    return Int8Model(
        model=trained.digest,
        parameters=QuantizeParameters(),
        code_version="test",
        tflite=tflite,
        size_bytes=size,
        fp32_tflite=NOTHING,
        fp32_size_bytes=3000,
        input=TensorFacts(name="picture", shape=(1, 120, 160, 1), dtype="int8", scale=1.0, zero_point=-128),
        output=TensorFacts(name="score", shape=(1, 1, 1, 1), dtype="int8", scale=1 / 256, zero_point=-128),
        ops={"AVERAGE_POOL_2D": 1, "CONV_2D": 1, "LOGISTIC": 1},
        macs=1,
        activation_peak_bytes=19200,
        calibration=(),
        clean=not offenders,
        offenders=offenders,
    )


def report(
    int8: Int8Model,
    *,
    accuracy: float = 0.98,
    recall: float | None = 0.97,
    point: float = 0.001,
    bound: float = 0.005,
    frames: int = 2000,
    sessions: int = 1500,
    split: str = "test",
) -> Report:
    figures = ModelMetrics(
        samples=frames, accuracy=accuracy, precision=0.9, recall=recall, auc=0.99, confusion=((1, 0), (0, 1))
    )
    loss = Degradation(
        point=point,
        bound=bound,
        method="exact" if sessions == frames else "session_bootstrap",
        frames=frames,
        sessions=sessions,
        lost=4,
        gained=2,
    )
    return Report(
        int8=int8.digest,
        dataset="d",
        parameters=EvaluateParameters.model_validate({"split": split}),
        code_version="test",
        fp32=figures,
        quantized=figures,
        degradation=loss,
        slices=(),
        scores=NOTHING,
        kernels="TFLM",
        seconds=1.0,
    )
