"""Hand-made records of one finished run, with a real scores blob and shard in the bucket, for the report's tests."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from tasks.candidates import FinishedRun
from tasks.degradation import degradation
from tasks.gate import judge, judge_unclean
from tasks.lineage import (
    DatasetVersion,
    EpochFigures,
    ExpectationOutcome,
    Int8Model,
    LayerError,
    Offender,
    Report,
    Slice,
    TensorFacts,
    TrainedModel,
    ValidationOutcome,
    digest_of,
)
from tasks.metrics import model_metrics
from tasks.parameters import (
    DatasetParameters,
    EvaluateParameters,
    GateLimits,
    QuantizeParameters,
    TrainParameters,
    ValidationParameters,
)
from tasks.store import Store

HOSTILE = '<script src="https://evil.example/x.js"></script>"\'&<img src=x onerror=alert(1)>'


def finished_run(
    store: Store,
    *,
    frames: int = 600,
    mistakes: float = 0.03,
    devices: tuple[str, ...] = ("porch", "hall", HOSTILE),
    clean: bool = True,
    limits: GateLimits = GateLimits(),  # noqa: B008 - frozen
    classes: tuple[int, ...] = (0, 1),
) -> FinishedRun:
    """A run over `frames` test frames in single-frame sessions; about `mistakes` of them are wrong."""
    rng = np.random.default_rng(7)
    labels = np.resize(classes, frames).astype(bool)
    wrong = rng.random(frames) < mistakes
    fp32 = np.where(labels ^ wrong, 1 - 0.45 * rng.beta(1, 5, frames), 0.45 * rng.beta(1, 5, frames))
    int8 = np.round(np.clip(fp32 + rng.normal(0, 0.001, frames), 0, 1) * 255) / 256
    truth = labels[:2].astype(float)  # INT8 loses frame 0 and gains frame 1
    fp32[:2] = np.abs(truth - [0.45, 0.55])
    int8[:2] = np.abs(truth - [0.59, 0.41])
    pixels = rng.integers(0, 255, (frames, 120, 160)).astype(np.uint8)
    pixels[:, :, 40:120] = (60 + 130 * labels)[:, None, None]
    names = np.resize(np.repeat(devices, 2), frames)
    dataset = _dataset(store, devices, _blob(store, pixels))
    validation = _validation(dataset)
    trained = _trained(dataset)
    model = _int8(trained, clean)
    if not clean:
        return FinishedRun(dataset, validation, trained, model, None, judge_unclean(model, limits))
    parameters = EvaluateParameters()
    sessions = [f"s{index:04d}" for index in range(frames)]
    table = {
        "pixels_sha256": [digest_of(index) for index in range(frames)],
        "key": [f"frames/2026-01-01/{names[i]}/{sessions[i]}/{i}.jpg" for i in range(frames)],
        "device": names.tolist(),
        "session": sessions,
        "label": ["person" if label else "no_person" for label in labels],
        "fp32_score": fp32,
        "int8_score": int8,
        "shard": [dataset.shards[0]] * frames,
        "row": np.arange(frames, dtype=np.int32),
    }
    buffer = io.BytesIO()
    parquet.write_table(pa.table(table), buffer)
    report = Report(
        int8=model.digest,
        dataset=dataset.digest,
        parameters=parameters,
        code_version="c" * 16,
        fp32=model_metrics(labels, fp32, parameters.threshold),
        quantized=model_metrics(labels, int8, parameters.threshold),
        degradation=degradation((fp32 >= 0.5) == labels, (int8 >= 0.5) == labels, sessions),
        slices=tuple(
            Slice(
                name=str(device),
                samples=int((names == device).sum()),
                sessions=int((names == device).sum()),
                fp32=model_metrics(labels[names == device], fp32[names == device], 0.5),
                int8=model_metrics(labels[names == device], int8[names == device], 0.5),
            )
            for device in devices
        ),
        scores=store.put_blob(buffer.getvalue()),
        kernels="TFLM (tflite-micro 0.dev20261023182759)",
        seconds=12.5,
        layers=layers(),
        layers_left_out=1,
    )
    return FinishedRun(dataset, validation, trained, model, report, judge(report, model, limits))


def _blob(store: Store, pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    return store.put_blob(buffer.getvalue())


def _dataset(store: Store, devices: tuple[str, ...], shard: str) -> DatasetVersion:
    return DatasetVersion(
        rows=digest_of("rows"),
        parameters=DatasetParameters(),
        parent=digest_of("the data set before"),
        index_revision=12,
        manifest=digest_of("manifest"),
        shards=(shard,),
        counts={
            "train": {"no_person": 900, "person": 900},
            "val": {"no_person": 190, "person": 190},
            "test": {"no_person": 200, "person": 200},
        },
        sessions={"train": 1400, "val": 300, "test": 400},
        devices={device: {"no_person": 430, "person": 430} for device in devices},
        left_out={"larger class undersampled": 37},
        class_weights={"no_person": 1.0, "person": 1.0},
    )


def _validation(dataset: DatasetVersion) -> ValidationOutcome:
    outcomes = [
        ExpectationOutcome(
            name=f"one class has at most 60 % of split {split}",
            expectation="expect_class_share",
            success=True,
            observed="0.5",
        )
        for split in ("train", "val", "test")
    ]
    return ValidationOutcome(
        dataset=dataset.digest,
        suite=digest_of("suite"),
        parameters=ValidationParameters(),
        success=True,
        expectations=tuple(outcomes),
        docs=f"datasets/{dataset.digest}/docs",
    )


def curves() -> tuple[EpochFigures, ...]:
    """Four epochs of the head and eight of fine-tuning; the best is the tenth of all."""
    return tuple(
        EpochFigures(
            phase="head" if epoch < 4 else "fine_tune",
            epoch=epoch + 1 if epoch < 4 else epoch - 3,
            loss=0.7 * 0.75**epoch + 0.02,
            accuracy=1 - 0.4 * 0.7**epoch,
            val_loss=0.72 * 0.76**epoch + 0.03 + max(0, epoch - 9) * 0.02,
            val_accuracy=0.985 - 0.4 * 0.72**epoch,
            learning_rate=1e-3,
            seconds=11.0,
        )
        for epoch in range(12)
    )


def layers() -> tuple[LayerError, ...]:
    """Forty operators whose names are hostile; 12 and 13 are clipped, 20 loses nothing."""
    found = []
    snr = 50.0
    for operator in range(40):
        own = {12: 3.5, 13: -1.0, 20: 120.0}.get(operator, 40 + 8 * np.sin(2.1 * operator))
        after = float(-10 * np.log10(10 ** (-snr / 10) + 10 ** (-own / 10)))
        found.append(
            LayerError(
                operator=operator,
                op="DEPTHWISE_CONV_2D" if operator % 3 else "CONV_2D",
                name=f"block_{operator}_project" if operator != 13 else f"block_13{HOSTILE}$x$",
                snr_db=after,
                own_snr_db=float(own),
                drop_db=snr - after if operator else None,
                saturated={12: 0.41, 13: 1.0}.get(operator, 0.0),
            )
        )
        snr = after
    return tuple(found)


def _trained(dataset: DatasetVersion) -> TrainedModel:
    return TrainedModel(
        dataset=dataset.digest,
        parameters=TrainParameters(),
        initial_weights="imagenet",
        code_version="a" * 16,
        model=digest_of("keras"),
        curves=curves(),
        val_accuracy=0.976,
        total_weights=706_224,
        trained_weights=588_112,
        seconds=412.0,
    )


def _int8(trained: TrainedModel, clean: bool) -> Int8Model:
    offenders = (
        Offender(
            kind="float_op",
            op="SIN",
            tensor="model/<b>sin</b>",
            index=7,
            cause="tf.sin has no INT8 kernel",
            fix="replace it by an op that has one",
        ),
    )
    return Int8Model(
        model=trained.digest,
        parameters=QuantizeParameters(),
        code_version="b" * 16,
        tflite=digest_of("int8 file"),
        size_bytes=979_624,
        fp32_tflite=digest_of("fp32 file"),
        fp32_size_bytes=2_762_456,
        input=TensorFacts(name="frame", shape=(1, 120, 160, 1), dtype="int8", scale=1.0, zero_point=-128),
        output=TensorFacts(name="score", shape=(1, 1), dtype="int8", scale=0.00390625, zero_point=-128),
        ops={"CONV_2D": 36, "DEPTHWISE_CONV_2D": 17, "ADD": 11, "MUL": 1, "AVERAGE_POOL_2D": 1, "LOGISTIC": 1},
        macs=37_512_000,
        activation_peak_bytes=288_000,
        calibration=tuple(digest_of(("calibration", index)) for index in range(256)),
        clean=clean,
        offenders=() if clean else offenders,
    )
