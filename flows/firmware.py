"""The firmware of a model that passed: built here, or ordered from whichever worker has the tool chain.

An order is a run of the deployment firmware/firmware. What it made is read from the bucket, never from Prefect.
"""

from contextlib import suppress

from prefect import flow
from prefect.states import Completed, State

from flows import stages
from flows.firmware_runs import check_deployment, start_run, wait_for_run
from flows.parameters import FirmwareRunParameters
from flows.stages import shown, stage
from tasks import dataset as datasets
from tasks.candidates import newest_passed
from tasks.errors import PipelineError
from tasks.firmware_order import FirmwareOrder, golden_frames_on, ordered_image
from tasks.firmware_records import FirmwareImage
from tasks.lineage import DatasetVersion, Int8Model, Report
from tasks.parameters import BoardLimits, FirmwareParameters
from tasks.store import open_store


class OtherVersion(PipelineError):
    """An order from a machine whose sources make another image than those here."""


class NothingPassed(PipelineError):
    """Firmware of the newest passed candidate was asked for, and there is none."""


@flow(name="firmware", log_prints=False, persist_result=False)
def firmware(parameters: FirmwareRunParameters = FirmwareRunParameters()) -> State[FirmwareImage]:  # noqa: B008 - frozen
    """One board's image of a model that passed its gate, built and proven in an emulator by this worker.

    Ends as `Proven` or `Unproven` (both completed: the image and its proof are stored), or failed: where a tool is
    missing here, or a step crashed.
    """
    stages.check_store()
    check_version(parameters.code_version)
    check_firmware(parameters.as_firmware)
    int8, report, dataset = find_records(parameters)
    image = build_firmware(int8, report, dataset, parameters.board, parameters.as_firmware)
    store_order(int8, report, dataset, image, parameters)
    return Completed(
        name="Proven" if image.passed else "Unproven",
        message="; ".join(rule.reason for rule in image.rules if not rule.passed) or f"{image.key}: every rule holds",
        data=image,
    )


def build_images(
    int8: Int8Model, report: Report, dataset: DatasetVersion, parameters: FirmwareParameters
) -> tuple[FirmwareImage, ...]:
    """The images of all boards, in their order: built by this worker, or each by one that serves the queue."""
    if parameters.build == "here":
        return tuple(build_firmware(int8, report, dataset, board, parameters) for board in parameters.boards)
    # All are started before one is waited for: there may be several machines.
    orders = [order_firmware(int8, report, dataset, board, parameters) for board in parameters.boards]
    return tuple(
        fetch_firmware(board, order, run, parameters.wait_minutes)
        for board, (order, run) in zip(parameters.boards, orders, strict=True)
    )


@stage
def check_firmware(parameters: FirmwareParameters) -> None:
    """Refuses boards and missing tools before hours go into a model whose firmware could not be built in the end."""
    from tasks.firmware import check_firmware
    from tasks.toolchain import MissingTool

    if parameters.build == "here":
        check_firmware(parameters)
        return
    for board in (*parameters.boards, *parameters.limits):
        with suppress(MissingTool):  # the tools are the other machine's
            check_firmware(FirmwareParameters(boards=(board,)))
    check_deployment()


@stage
def build_firmware(
    int8: Int8Model, report: Report, version: DatasetVersion, board: str, parameters: FirmwareParameters
) -> FirmwareImage:
    """INT8 model that passed -> verified image of one board."""
    from tasks.firmware import build_firmware

    store = open_store()
    test = datasets.open_split(store, version, "test")
    return build_firmware(store, int8, report, test, board, parameters, progress=shown(f"golden frames on {board}"))


@stage
def order_firmware(
    int8: Int8Model, report: Report, dataset: DatasetVersion, board: str, parameters: FirmwareParameters
) -> tuple[str, str]:
    """Digest of the order, and id of the run that carries it out ("" where the image is already there)."""
    from tasks.firmware import firmware_code_version

    wanted = FirmwareRunParameters(
        board=board,
        int8=int8.key,
        report=report.key,
        dataset=dataset.key,
        golden_frames=golden_frames_on(board, parameters),
        hysteresis=parameters.hysteresis,
        limits=parameters.limits.get(board, BoardLimits()),
        seed=parameters.seed,
        code_version=firmware_code_version(),
    )
    digest = FirmwareOrder.digest_for(**_identity(int8, report, dataset, wanted))
    if ordered_image(open_store(), digest):
        return digest, ""
    return digest, start_run(wanted, digest)


@stage
def fetch_firmware(board: str, order: str, run: str, wait_minutes: float) -> FirmwareImage:
    """Order -> image, once its run has ended."""
    if run:
        wait_for_run(run, board, wait_minutes)
    image = ordered_image(open_store(), order)
    if image is None:
        raise PipelineError(
            f"firmware for {board}: its run {run} completed, and the bucket holds no image of it",
            next_step="does that worker use the same bucket (F2F_ENDPOINT_URL, F2F_BUCKET, F2F_PREFIX)?",
        )
    return image


@stage
def check_version(expected: str) -> None:
    """Refuses an order from other sources: the image would not be what was asked for."""
    from tasks.firmware import firmware_code_version

    if expected and (here := firmware_code_version()) != expected:
        raise OtherVersion(
            f"the firmware's sources on this worker have version {here[:12]}, the run asks for {expected[:12]}",
            next_step="bring all machines to the same commit, restart their workers, and run the retrain again",
        )


@stage
def find_records(parameters: FirmwareRunParameters) -> tuple[Int8Model, Report, DatasetVersion]:
    """The records that the image is made from."""
    store, keys = open_store(), {name: getattr(parameters, name) for name in ("int8", "report", "dataset")}
    if not parameters.int8:
        candidate = newest_passed(store)
        if candidate is None:
            raise NothingPassed("no candidate has passed its gate yet", next_step="run `f2f retrain`")
        keys = candidate.records
    return (
        store.get_record(keys["int8"], Int8Model),
        store.get_record(keys["report"], Report),
        store.get_record(keys["dataset"], DatasetVersion),
    )


@stage
def store_order(
    int8: Int8Model, report: Report, dataset: DatasetVersion, image: FirmwareImage, parameters: FirmwareRunParameters
) -> None:
    """What the one who ordered looks for."""
    from tasks.firmware import firmware_code_version

    done = parameters.model_copy(update={"code_version": firmware_code_version()})
    order = FirmwareOrder.model_validate({**_identity(int8, report, dataset, done), "image": image.digest})
    open_store().put_record(order.key, order)


def _identity(
    int8: Int8Model, report: Report, dataset: DatasetVersion, wanted: FirmwareRunParameters
) -> dict[str, object]:
    return {
        "int8": int8.digest,
        "report": report.digest,
        "dataset": dataset.digest,
        "board": wanted.board,
        "golden_frames": wanted.golden_frames,
        "hysteresis": wanted.hysteresis,
        "limits": wanted.limits,
        "seed": wanted.seed,
        "code_version": wanted.code_version,
    }
