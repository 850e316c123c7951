"""From the frame index to a verdict: data set, validation, training, INT8, evaluation, gate, report.

Every stage finds what it already made by digest, so a rerun with the same inputs takes seconds and a crashed run goes
on where it stopped. The firmware starts from the `Candidate` that this flow stores.
"""

from prefect import flow
from prefect.states import Completed, State

from expectations.checkpoint import require_valid
from flows import stages
from flows.parameters import RetrainParameters
from flows.publish import publish, show_validation
from tasks.candidates import FinishedRun
from tasks.lineage import Candidate
from tasks.settings import settings


@flow(name="retrain", log_prints=False, persist_result=False)
def retrain(parameters: RetrainParameters = RetrainParameters()) -> State[Candidate]:  # noqa: B008 - frozen
    """Data set, validation, two-phase training, INT8 conversion, FP32 against INT8, verdict.

    Ends as `Passed` or `Rejected` (both completed: the gate did its work), or failed where the data set is invalid or
    a stage crashed. A rejected candidate keeps its report and is never promoted.
    """
    stages.check_store()
    dataset = stages.build_dataset(parameters.dataset)
    validation = stages.validate(dataset, parameters.validation)
    show_validation(validation)
    require_valid(validation, public_base_url=settings().public_base_url)
    trained = stages.train(dataset, parameters.train)
    int8 = stages.quantize(trained, dataset, parameters.quantize)
    report = stages.evaluate(int8, trained, dataset, parameters.evaluate) if int8.clean else None
    verdict = stages.judge(report, int8, parameters.limits)
    candidate = publish(FinishedRun(dataset, validation, trained, int8, report, verdict))
    broken = "; ".join(rule.reason for rule in verdict.rules if not rule.passed)
    return Completed(
        name="Passed" if verdict.passed else "Rejected",
        message=broken or "every rule of the gate holds",
        data=candidate,
    )
