"""From the frame index to a verified image: data set, validation, training, INT8, evaluation, gate, firmware, report.

Every stage finds what it already made by digest, so a rerun with the same inputs takes seconds and a crashed run goes
on where it stopped.
"""

from prefect import flow
from prefect.states import Completed, State

from expectations.checkpoint import require_valid
from flows import stages
from flows.parameters import RetrainParameters
from flows.publish import publish, show_validation
from tasks.candidates import FinishedRun
from tasks.firmware import Unproven
from tasks.firmware_records import FirmwareImage
from tasks.lineage import Candidate
from tasks.settings import settings


@flow(name="retrain", log_prints=False, persist_result=False)
def retrain(parameters: RetrainParameters = RetrainParameters()) -> State[Candidate]:  # noqa: B008 - frozen
    """Data set, validation, two-phase training, INT8 conversion, FP32 against INT8, verdict, firmware.

    Ends as `Passed` or `Rejected` (both completed: the gate did its work), or failed: where the data set is invalid, a
    stage crashed, or an image does not do on the device what was measured here. Only a passed candidate is ever
    promoted; the others keep their report.
    """
    stages.check_store()
    stages.check_firmware(parameters.firmware)
    dataset = stages.build_dataset(parameters.dataset)
    validation = stages.validate(dataset, parameters.validation)
    show_validation(validation)
    require_valid(validation, public_base_url=settings().public_base_url)
    trained = stages.train(dataset, parameters.train)
    int8 = stages.quantize(trained, dataset, parameters.quantize)
    report = stages.evaluate(int8, trained, dataset, parameters.evaluate) if int8.clean else None
    verdict = stages.judge(report, int8, parameters.limits)
    images: list[FirmwareImage] = []
    if verdict.passed and report:
        boards = parameters.firmware.boards
        images = [stages.build_firmware(int8, report, dataset, board, parameters.firmware) for board in boards]
    run = FinishedRun(dataset, validation, trained, int8, report, verdict, tuple(images))
    candidate = publish(run)
    if verdict.passed and not run.passed:
        raise Unproven("; ".join(run.broken), next_step=f"the report {candidate.html} shows every image")
    return Completed(
        name="Passed" if run.passed else "Rejected",
        message="; ".join(run.broken) or "every rule of the gate holds, every image is proven",
        data=candidate,
    )
