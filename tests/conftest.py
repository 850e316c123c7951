"""Shared fixtures: a real S3 server on a free port, the real frames where they are at hand."""

import os
import random
import signal
import socket
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.update(NO_ALBUMENTATIONS_UPDATE="1", GX_ANALYTICS_ENABLED="false", DO_NOT_TRACK="1")
os.environ.update(PREFECT_SERVER_ANALYTICS_ENABLED="false", TF_CPP_MIN_LOG_LEVEL="2")
# Nothing of the developer's own stack or cloud account may leak into a test: all local data go to a folder that is
# removed at the end. Only the S3 server's program is taken from, or installed into, the data folder that is kept.
# pytest-xdist's workers inherit the environment that this file has changed already: the first value is handed on.
_kept = os.environ.setdefault("TESTS_KEPT_DATA_DIR", os.environ.get("F2F_DATA_DIR", ""))
for name in [n for n in os.environ if n.startswith(("AWS_", "F2F_", "PREFECT_API_", "PREFECT_PROFILE"))]:
    del os.environ[name]
_scratch = tempfile.TemporaryDirectory(prefix="f2f-tests-", ignore_cleanup_errors=True)
os.environ.update(F2F_DATA_DIR=f"{_scratch.name}/f2f", PREFECT_HOME=f"{_scratch.name}/prefect")
# cargo's folders are kept as well: the first build of a board takes half a minute, all later ones seconds.
_builds = Path(_kept) if _kept else Path(__file__).resolve().parent.parent / ".f2f"
os.environ["F2F_FIRMWARE_TARGET_DIR"] = str(_builds / "firmware" / "target")
os.environ.update(AWS_EC2_METADATA_DISABLED="true", AWS_SHARED_CREDENTIALS_FILE=f"{_scratch.name}/no-credentials")

# A shell that starts this suite in the background lets it ignore Ctrl-C, and so would every program that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

from tasks.settings import PROJECT, Settings, settings  # noqa: E402
from tasks.store import Store, open_store  # noqa: E402

SHARED = PROJECT.parent / "shared"
ACCESS_KEY, SECRET_KEY = "test-access", "test-secret-key"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real frames, weights and fixtures beside the checkout."""
    if not (SHARED / "fixtures").is_dir():
        pytest.skip("needs ../shared (real frames, weights, fixtures), which is not here")
    return SHARED


def free_port() -> int:
    """A port that was free a moment ago, below those that the kernel gives to outgoing connections: a test that stops
    a server and starts it again on its port must not lose it to somebody's request in between."""
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@pytest.fixture(scope="session")
def s3_program() -> Path:
    """The S3 server's executable, installed where it is missing (minutes, once; `make test` does it beforehand)."""
    from deployments import versitygw_install

    return versitygw_install.install(Path(_kept) if _kept else PROJECT / ".f2f", print)


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory, s3_program: Path) -> Iterator[str]:
    """A versitygw of its own, stopped by process id."""
    from deployments import versitygw

    folder = tmp_path_factory.mktemp("s3")
    port = free_port()
    process = versitygw.start(folder, port=port, access_key=ACCESS_KEY, secret_key=SECRET_KEY, program=s3_program)
    try:
        versitygw.wait_healthy(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="session", autouse=True)
def s3_credentials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A credentials file for the test server."""
    path = tmp_path_factory.mktemp("credentials") / "credentials"
    path.write_text(f"[test]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n")
    return path


@pytest.fixture
def where(s3_endpoint: str, s3_credentials: Path, tmp_path: Path) -> Settings:
    """Settings with a bucket of this test's own (not yet created) and an empty cache."""
    return Settings(
        _env_file=None,  # type: ignore[call-arg]
        endpoint_url=s3_endpoint,
        bucket=f"t-{uuid.uuid4().hex[:12]}",
        profile="test",
        credentials_file=s3_credentials,
        data_dir=tmp_path / "f2f",
    )


@pytest.fixture
def store(where: Settings) -> Store:
    """An empty bucket."""
    opened = Store(where)
    opened.create_bucket()
    return opened


@pytest.fixture
def this_bucket(where: Settings, store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The test's empty bucket as the one that flows and commands find by their settings."""
    for name, value in where.model_dump().items():
        if value is not None:
            monkeypatch.setenv(f"F2F_{name.upper()}", str(value))
    settings.cache_clear()
    open_store.cache_clear()
    assert os.environ["F2F_BUCKET"] == where.bucket
    yield store
    settings.cache_clear()
    open_store.cache_clear()


@pytest.fixture(autouse=True)
def own_sender_of_events() -> Iterator[None]:
    """Prefect keeps one sender of events a process, bound to the server that it was made for: it ends with the test.
    Else the events of later tests go to a server that is gone, seven seconds each."""
    yield
    if worker := sys.modules.get("prefect.events.worker"):
        worker.EventsWorker.drain_all(timeout=10, at_exit=False)


def missing_firmware_tool() -> str:
    """Which part of the firmware's tool chain is not on this machine, in a sentence; "" where all of it is."""
    from tasks.boards import BOARDS
    from tasks.cargo_build import check_tools
    from tasks.toolchain import MissingTool, find_qemu

    try:
        for board in BOARDS.values():
            if board.emulated:
                check_tools(board)
        find_qemu()
    except MissingTool as missing:
        return f"needs the firmware tool chain: {missing.message} (`make firmware-tools` installs it)"
    return ""


@pytest.fixture(scope="session")
def arm_tools() -> None:
    """Rust, Arm's GCC and QEMU; tests that need them are skipped where one is missing, with its name."""
    if missing := missing_firmware_tool():
        pytest.skip(missing)
