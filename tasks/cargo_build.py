"""One firmware image: contract and model in, ELF, binary and linker map out. Offline, and the same bytes every time."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.boards import Board, Memory
from tasks.contract import Contract
from tasks.errors import PipelineError
from tasks.settings import settings
from tasks.tflm_support import Revision
from tasks.toolchain import FIRMWARE, find_arm_gcc, find_cargo, find_esp_toolchain, find_rustc, rust_environment

TIME_LIMIT = 1800.0  # seconds; a first build with upstream's kernels takes three minutes on one slow core


class BuildFailed(PipelineError):
    """cargo or a compiler said no; the message carries its words."""


@dataclass(frozen=True)
class Engine:
    """Which TFLM goes into an image. Folders None: the sources that the crate registry has, with portable kernels."""

    tflm_dir: Path | None = None
    cmsis_nn_dir: Path | None = None

    @property
    def revision(self) -> Revision:
        """upstream or registry, as `tasks/tflm_support.py` calls them."""
        return "upstream" if self.tflm_dir else "registry"

    @property
    def name(self) -> str:
        """A folder name that tells engines apart."""
        return f"{self.revision}-cmsis-nn" if self.cmsis_nn_dir else self.revision

    @staticmethod
    def from_environment() -> "Engine":
        """The folders named by TFLM_DIR and CMSIS_NN_DIR."""

        def named(name: str) -> Path | None:
            value = os.environ.get(name)
            return Path(value).expanduser().absolute() if value else None

        return Engine(named("TFLM_DIR"), named("CMSIS_NN_DIR"))


@dataclass(frozen=True)
class Built:
    """The files of one build, in memory: the next build may overwrite them on disk."""

    elf: bytes
    binaries: dict[str, bytes]  # file name -> bytes of one flash region
    map: str
    log: str


def check_tools(board: Board) -> None:
    """Raises `MissingTool` where the board cannot be built here, saying what to install."""
    if board.target.startswith("xtensa"):
        find_esp_toolchain()
    else:
        find_rustc()
        find_cargo()
        find_arm_gcc()


def build(board: Board, contract: Contract, model: bytes, engine: Engine, *, target_dir: Path | None = None) -> Built:
    """Compiles and links. Takes seconds where only the model changed, about half a minute the first time.

    Builds of one board and engine share a folder and wait for each other. Raises `MissingTool`, `BuildFailed`.
    """
    check_tools(board)
    folder = target_dir or settings().firmware_builds / f"{board.name}-{engine.name}"
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder), tempfile.TemporaryDirectory(prefix="f2f-model-") as model_dir:
        (Path(model_dir) / "contract.json").write_text(contract.text())
        (Path(model_dir) / "model.tflite").write_bytes(model)
        map_file = folder / "image.map"
        map_file.unlink(missing_ok=True)
        log = _cargo(board, engine, contract, folder, Path(model_dir), map_file)
        elf = folder / board.target / "release" / board.package
        if not map_file.exists():  # cargo found everything fresh and linked nothing: it links again for a lost map
            elf.unlink(missing_ok=True)
            log += _cargo(board, engine, contract, folder, Path(model_dir), map_file)
        return Built(elf.read_bytes(), _binaries(board, elf), map_file.read_text(), log)


def _cargo(board: Board, engine: Engine, contract: Contract, folder: Path, model_dir: Path, map_file: Path) -> str:
    package = FIRMWARE / "boards" / board.package
    line = ["build", "--release", "--locked", "--offline", "--manifest-path", str(package / "Cargo.toml")]
    line += ["--target", board.target]
    if board.feature:
        line += ["--features", board.feature]
    if board.target.startswith("xtensa"):
        line = ["+esp", *line, "-Zbuild-std=core,alloc"]
    return run_cargo(line, build_environment(board, engine, contract, folder, model_dir, map_file), cwd=package)


def build_environment(
    board: Board, engine: Engine, contract: Contract, folder: Path, model_dir: Path, map_file: Path
) -> dict[str, str]:
    """The environment of cargo: nothing of the user's own flags, and no path of this machine in the image."""
    home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    rustup = Path(os.environ.get("RUSTUP_HOME") or Path.home() / ".rustup")
    flags = [
        f"-Ctarget-cpu={board.cpu}",
        f"-Clink-arg=-Map={map_file}" if not board.target.startswith("xtensa") else f"-Clink-arg=-Wl,-Map={map_file}",
        # Later ones win: the most specific folder is named last.
        f"--remap-path-prefix={rustup}=rustup",
        f"--remap-path-prefix={home}=cargo",
        f"--remap-path-prefix={FIRMWARE}=firmware",
        f"--remap-path-prefix={folder}=target",
    ]
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("CARGO_", "RUST", "TFLM", "CMSIS"))
    }
    kept |= {
        name: os.environ[name] for name in ("CARGO_HOME", "RUSTUP_HOME", "CARGO_HTTP_CAINFO") if name in os.environ
    }
    for name in ("CFLAGS", "CXXFLAGS", "CC", "CXX", "AR", "TARGET_CC", "TARGET_CXX"):
        kept.pop(name, None)
    kept |= rust_environment("esp" if board.target.startswith("xtensa") else None)
    kept |= {
        "CARGO_TARGET_DIR": str(folder),
        "CARGO_ENCODED_RUSTFLAGS": "\x1f".join(flags),
        "CARGO_TERM_COLOR": "never",
        "CARGO_INCREMENTAL": "0",
        "F2F_MODEL_DIR": str(model_dir),
        "SOURCE_DATE_EPOCH": "0",
        "LC_ALL": "C",
    }
    if engine.tflm_dir:
        # Upstream's kernels take minutes to compile: only those in use are.
        kept |= {"TFLM_DIR": str(engine.tflm_dir), "TFLM_OPS": ",".join(contract.operators)}
    if engine.cmsis_nn_dir:
        kept["CMSIS_NN_DIR"] = str(engine.cmsis_nn_dir)
    return kept


def run_cargo(line: list[str], environment: dict[str, str], *, cwd: Path, time_limit: float = TIME_LIMIT) -> str:
    """Runs cargo and returns what it printed. Raises `BuildFailed` with the errors in it, or after `time_limit`.

    Ctrl-C ends it with everything that it started.
    """
    process = subprocess.Popen(
        [find_cargo().path, *line],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    timer = threading.Timer(time_limit, _end, [process])
    timer.start()
    try:
        log = process.communicate()[0]
    except BaseException:
        _end(process)
        raise
    finally:
        hung = not timer.is_alive()
        timer.cancel()
    if process.returncode == 0:
        return log
    if hung:
        raise BuildFailed(
            f"cargo did not end within {time_limit:.0f} s; its last words: {_tail(log)}",
            next_step="run it again: what was compiled is kept",
        )
    raise BuildFailed(f"`cargo {' '.join(line[:2])} ...` failed: {_reason(log)}", next_step=_next_step(log))


def _reason(log: str) -> str:
    """The errors in cargo's output, without the noise around them."""
    lines = log.splitlines()
    own = [line.partition("error: ")[2] for line in lines if line.startswith("error: ") and "@0.1.0: " in line]
    if own:  # one of our build scripts said it in a sentence
        return "; ".join(line.partition("@0.1.0: ")[2] for line in own)
    if refused := next(
        (line.partition("evaluation panicked: ")[2] for line in lines if "evaluation panicked" in line), ""
    ):
        return f"the model is refused while the firmware compiles: {refused}"
    said = [line.partition("cargo:warning=")[2] for line in lines if "cargo:warning=" in line]
    if compiler := [line for line in said if "error" in line]:  # a C or C++ compiler, through the crate cc
        return "\n".join(compiler[:10])
    start = next((i for i, line in enumerate(lines) if line.startswith("error")), max(len(lines) - 20, 0))
    noise = ("cargo:", "cargo::", "TARGET", "CC", "CXX", "CFLAGS", "AR")  # what build scripts tell cargo
    return "\n".join([line for line in lines[start:] if not line.strip().startswith(noise)][:30])


def _next_step(log: str) -> str:
    if "--offline" in log or "no matching package" in log or "failed to download" in log:
        return "the crates are not on this machine yet: `python -m deployments.firmware_tools` with network access"
    if "evaluation panicked" in log:
        return (
            "the checks are those of firmware/tflm/src/model.rs; what only upstream's TFLM runs safely takes TFLM_DIR "
            "(`f2f firmware sources`), anything else another conversion"
        )
    return "the words above are the compiler's; after a change in firmware/ see firmware/README.md"


def _tail(log: str) -> str:
    return " | ".join(line.strip() for line in log.splitlines()[-3:]) or "(nothing)"


def _end(process: "subprocess.Popen[str]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait()


def _binaries(board: Board, elf: Path) -> dict[str, bytes]:
    """What is written into flash, a file a region; from one region to the next would be hundreds of MiB of nothing.

    Nothing for the ESP32-S3: its flash image has headers of its own, which `espflash` makes from the ELF.
    """
    if not board.emulated:
        return {}
    objcopy = shutil.which("arm-none-eabi-objcopy")
    if not objcopy:
        raise BuildFailed(f"no objcopy for {board.target}", next_step="it comes with Arm's GCC: install that again")
    files = {"firmware.bin": [] if len(_flash(board)) == 1 else ["--remove-section=.model"]}
    if len(_flash(board)) > 1:
        files["firmware-model.bin"] = ["--only-section=.model"]
    made = {}
    for name, options in files.items():
        with tempfile.NamedTemporaryFile(suffix=".bin") as file:
            subprocess.run([objcopy, "-O", "binary", *options, elf, file.name], check=True, capture_output=True)
            made[name] = Path(file.name).read_bytes()
    return made


def _flash(board: Board) -> list[Memory]:
    return [memory for memory in board.memories if memory.kind == "flash"]


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One build at a time in a folder. The lock goes with the process, however that ends."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
