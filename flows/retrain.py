"""From the frame index to a release: data set, validation, training, INT8, evaluation, gate, firmware, promotion.

Every stage finds what it already made by digest, so a rerun with the same inputs takes seconds and a crashed run goes
on where it stopped.
"""

from prefect import flow
from prefect.states import Completed, State

from expectations.checkpoint import require_valid
from flows import stages
from flows.events import emit, tell_validation, tell_verdict
from flows.firmware import build_images, check_firmware
from flows.parameters import RetrainParameters
from flows.promote import check_promotion, promote_candidate
from flows.publish import publish, show_validation
from tasks.alerts import training_finished
from tasks.candidates import FinishedRun
from tasks.firmware import Unproven
from tasks.lineage import Candidate
from tasks.report_figures import passed_sentence
from tasks.settings import settings


@flow(name="retrain", log_prints=False, persist_result=False)
def retrain(parameters: RetrainParameters = RetrainParameters()) -> State[Candidate]:  # noqa: B008 - frozen
    """Data set, validation, two-phase training, INT8 conversion, FP32 against INT8, verdict, firmware, promotion.

    Ends as `Passed` or `Rejected` (both completed: the gate did its work), or failed: where the data set is invalid, a
    stage crashed, or an image does not do on the device what was measured here. Only a passed candidate is
    compared with the channel and, unless promotion is a dry run, released; the others keep their report.
    """
    stages.check_store()
    check_firmware(parameters.firmware)
    check_promotion(parameters.promote)
    dataset = stages.build_dataset(parameters.dataset, parameters.index_rows)
    validation = stages.validate(dataset, parameters.validation)
    show_validation(validation)
    tell_validation(dataset, validation)
    require_valid(validation, public_base_url=settings().public_base_url)
    trained = stages.train(dataset, parameters.train)
    emit(training_finished(trained))
    int8 = stages.quantize(trained, dataset, parameters.quantize)
    report = stages.evaluate(int8, trained, dataset, parameters.evaluate) if int8.clean else None
    verdict = stages.judge(report, int8, parameters.limits)
    images = build_images(int8, report, dataset, parameters.firmware) if verdict.passed and report else ()
    run = FinishedRun(dataset, validation, trained, int8, report, verdict, images)
    candidate = publish(run)
    tell_verdict(run, candidate)
    if verdict.passed and not run.passed:
        raise Unproven("; ".join(run.broken), next_step=f"the report {candidate.html} shows every image")
    if not run.passed:
        return Completed(name="Rejected", message="; ".join(run.broken), data=candidate)
    promoted = promote_candidate(candidate, parameters.promote)
    message = f"{passed_sentence(images)}; {promoted.sentence}"
    return Completed(name="Passed", message=message, data=candidate)
