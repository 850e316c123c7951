"""Architectures side by side: accuracy against INT8 size, tensor memory and MACs, on the validation split.

The article's "selecting an optimal architecture", by measurement. Everything a point needs is content-addressed, so a
second sweep with one more width trains that one only.
"""

from prefect import flow

from expectations.checkpoint import require_valid
from flows import stages
from flows.parameters import SweepParameters
from flows.publish import publish_sweep, show_validation
from tasks.lineage import DatasetVersion
from tasks.parameters import TrainParameters
from tasks.settings import settings
from tasks.sweep_point import SweepPoint


@flow(name="sweep", log_prints=False, persist_result=False)
def sweep(parameters: SweepParameters = SweepParameters()) -> tuple[SweepPoint, ...]:  # noqa: B008 - frozen
    """Train, convert and evaluate every combination of width multiplier and input size; draw the Pareto front."""
    stages.check_store()
    dataset = stages.build_dataset(parameters.dataset)
    validation = stages.validate(dataset, parameters.validation)
    show_validation(validation)
    require_valid(validation, public_base_url=settings().public_base_url)
    points = [_measure(dataset, architecture, parameters) for architecture in parameters.architectures()]
    return publish_sweep(points)


def _measure(dataset: DatasetVersion, architecture: TrainParameters, parameters: SweepParameters) -> SweepPoint:
    """One architecture; one that the audit refuses is a point without accuracies, not the end of the sweep."""
    trained = stages.train(dataset, architecture)
    int8 = stages.quantize(trained, dataset, parameters.quantize)
    report = stages.evaluate(int8, trained, dataset, parameters.evaluate) if int8.clean else None
    return SweepPoint(
        alpha=architecture.alpha,
        width=architecture.width,
        height=architecture.height,
        trained=trained.digest,
        int8=int8.digest,
        report=report.digest if report else None,
        accuracy_fp32=report.fp32.accuracy if report else None,
        accuracy_int8=report.quantized.accuracy if report else None,
        size_bytes=int8.size_bytes,
        activation_peak_bytes=int8.activation_peak_bytes,
        macs=int8.macs,
    )
