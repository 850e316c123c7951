"""The firmware's own checks, as cargo runs them: format, lints on host and board, tests, AddressSanitizer, Miri.

Everything is built in `.f2f/firmware/target`, which is kept: minutes the first time, well under three when nothing
changed. Nothing is installed and nothing fetched; what is missing is skipped by its name. Not here: images and
emulated runs (test_image.py), and the board with Espressif's toolchain, of which only its portable crates are tested.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import pytest

from tasks.settings import PROJECT
from tasks.toolchain import (
    FIRMWARE,
    MissingTool,
    find_arm_gcc,
    find_cargo,
    find_host_compiler,
    find_rustc,
    missing_components,
    pinned_rust,
    rust_environment,
)

TARGETS = PROJECT / ".f2f" / "firmware" / "target"
NIGHTLY = pinned_rust(FIRMWARE / "nightly")
MINUTES = 60
INCLUDED = ("tflm-sys/tree.rs", "tflm-sys/ops.rs", "tflm/tests/example/network.rs")  # `include!`: cargo fmt misses them
Cargo = Callable[..., str]


def environment(target_dir: str, more: Mapping[str, str]) -> dict[str, str]:
    """This process's variables without those that would change a build, and `more`."""
    dropped = (
        "CARGO_",
        "RUST",
        "TFLM",
        "CMSIS",
        "F2F_",
        "CFLAGS",
        "CXXFLAGS",
        "CC",
        "CXX",
        "AR",
        "LD_",
        "ASAN_",
        "MIRI",
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    kept |= {name: os.environ[name] for name in ("CARGO_HOME", "RUSTUP_HOME") if name in os.environ}
    fixed = {"CARGO_TARGET_DIR": str(TARGETS / target_dir), "CARGO_TERM_COLOR": "never", "CARGO_INCREMENTAL": "0"}
    return kept | rust_environment() | fixed | {"CARGO_NET_OFFLINE": "true", "CARGO_BUILD_JOBS": "2"} | dict(more)


def cargo_run(
    line: Sequence[str], *, target_dir: str = "host", environ: Mapping[str, str] | None = None, fails: bool = False
) -> str:
    """What cargo says, both streams; it must succeed, or fail where that is what is tested."""
    answer = subprocess.run(
        [find_cargo().path, *line],
        cwd=FIRMWARE,
        env=environment(target_dir, environ or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=20 * MINUTES,
        check=False,
    )
    end = "\n".join(answer.stdout.splitlines()[-80:])
    assert (answer.returncode != 0) == fails, f"`cargo {' '.join(line)}` ended with {answer.returncode}:\n{end}"
    return answer.stdout


@pytest.fixture(scope="module")
def cargo() -> Cargo:
    """cargo as pinned, with the crates in Cargo.lock on this machine."""
    try:
        find_host_compiler()
        find_cargo()
    except MissingTool as missing:
        pytest.skip(str(missing))
    line = [find_cargo().path, "fetch", "--locked", "--offline"]
    fetched = subprocess.run(
        line, cwd=FIRMWARE, env=environment("host", {}), capture_output=True, text=True, check=False
    )
    if fetched.returncode:
        why = (fetched.stderr.strip() or "cargo fetch failed").splitlines()[0]
        pytest.skip(f"the firmware's crates are not all on this machine ({why}): `cargo fetch --locked` in firmware/")
    return cargo_run


def needs_component(name: str) -> None:
    if name in missing_components():
        channel = pinned_rust().channel
        pytest.skip(f"Rust {channel} is here without {name}: rustup component add --toolchain {channel} {name}")


def add_up(log: str, record: Callable[[str, object], None], minimum: int) -> None:
    """Adds up the `test result:` lines, puts the figures into the report and prints them."""
    found = re.findall(r"^test result: (\w+)\. (\d+) passed; (\d+) failed; (\d+) ignored", log, re.MULTILINE)
    passed, failed, ignored = (sum(int(line[i]) for line in found) for i in (1, 2, 3))
    record("rust_tests", passed)
    print(f"Rust: {passed} passed, {failed} failed, {ignored} ignored in {len(found)} runs")
    for line in re.findall(r"^.*(?:let through by the check|smallest arena on this machine).*$", log, re.MULTILINE):
        print(line)
    assert failed == 0
    assert passed >= minimum, log[-4000:]


def test_the_workspace_is_formatted(cargo: Cargo) -> None:
    needs_component("rustfmt")
    cargo(["fmt", "--all", "--", "--check", *INCLUDED])


def test_lints_find_nothing_on_the_host(cargo: Cargo) -> None:
    needs_component("clippy")
    cargo(["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"])


@pytest.mark.parametrize(
    ("target", "feature", "cpu"),
    [
        ("thumbv7em-none-eabihf", "an386", "cortex-m4"),
        ("thumbv8m.main-none-eabihf", "an547", "cortex-m55"),
    ],
)
def test_lints_find_nothing_on_the_boards(cargo: Cargo, target: str, feature: str, cpu: str) -> None:
    needs_component("clippy")
    try:
        find_rustc()
        find_arm_gcc()
    except MissingTool as missing:
        pytest.skip(str(missing))
    # The flag is this target's alone, so that what is built for the host is shared with the other checks.
    flags = {f"CARGO_TARGET_{target.upper().replace('-', '_').replace('.', '_')}_RUSTFLAGS": f"-Ctarget-cpu={cpu}"}
    line = ["clippy", "--locked", "-p", "qemu-mps", "--features", feature, "--target", target]
    cargo([*line, "--", "-D", "warnings"], environ=flags)


def test_every_rust_test_passes_on_the_host(cargo: Cargo, record_property: Callable[[str, object], None]) -> None:
    log = cargo(["test", "--locked", "--workspace"])
    add_up(log, record_property, 90)


def sanitized() -> dict[str, str]:
    """C++ compiled with AddressSanitizer, its library in the tests' processes before all others."""
    named = subprocess.run(["c++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    library = Path(named.stdout.strip())
    if not library.is_absolute():
        pytest.skip("libasan.so is not here: it comes with Debian's g++")
    runner = f"env LD_PRELOAD={library} ASAN_OPTIONS=abort_on_error=1"
    host = f"CARGO_TARGET_{host_triple().upper().replace('-', '_')}"
    return {"TFLM_SANITIZE": "address", f"{host}_RUSTFLAGS": "-Clink-arg=-lasan", f"{host}_RUNNER": runner}


def host_triple() -> str:
    """What rustc calls this machine."""
    answer = subprocess.run(["rustc", "-vV"], env=environment("host", {}), capture_output=True, text=True, check=True)
    return re.findall(r"^host: (.+)$", answer.stdout, re.MULTILINE)[0]


def test_address_sanitizer_finds_nothing_and_is_there(
    cargo: Cargo, record_property: Callable[[str, object], None]
) -> None:
    """The wrapper on arenas of every size, and thousands of mutated models that its check lets through.

    C++ alone is instrumented: of Rust, what is unsafe is Miri's.
    """
    environ = sanitized()
    where = ["--locked", "--target", host_triple()]
    suites = ["--test", "interpreter", "--test", "mutations", "--test", "whole", "--", "--show-output"]
    log = cargo(["test", *where, "-p", "tflm", "-p", "model", *suites], target_dir="asan", environ=environ)
    add_up(log, record_property, 18)
    control = ["--test", "mutations", "--", "--ignored", "--exact", "a_write_beyond_the_arena_is_seen", "--nocapture"]
    log = cargo(["test", *where, "-p", "tflm", *control], target_dir="asan", environ=environ, fails=True)
    assert "ERROR: AddressSanitizer" in log
    assert "nobody saw it" not in log


def miri() -> dict[str, str]:
    """The toolchain that has Miri, the pinned nightly or one of the same day under another name, and Miri's library.

    That is the standard library, compiled for Miri from rust-src. The place where cargo-miri would put it is
    everybody's: another nightly that does the same at the same time takes it away.
    """
    how = " ".join(NIGHTLY.install)
    if not shutil.which("rustup"):
        pytest.skip(f"rustup is not on PATH; then `{how}`")
    # A nightly of one day is built from the commits of the day before.
    day = date.fromisoformat(NIGHTLY.channel.removeprefix("nightly-")) - timedelta(days=1)
    for channel in (NIGHTLY.channel, "nightly"):
        environ = rust_environment(channel) | {"MIRI_SYSROOT": str(TARGETS / "miri" / "sysroot")}

        def answer(*line: str, environ: dict[str, str] = environ) -> str | None:
            told = environment("miri", environ)
            done = subprocess.run(line, env=told, capture_output=True, text=True, check=False)
            return done.stdout if done.returncode == 0 else None

        if f" {day})" in (answer("rustc", "--version") or "") and answer("cargo", "miri", "--version") is not None:
            if answer("cargo", "miri", "setup") is not None:
                return environ
            pytest.skip(f"Miri has no standard library: `cargo +{channel} miri setup` with network access makes it")
    pytest.skip(f"Rust {NIGHTLY.channel} with Miri is not installed: {how}")


def test_miri_finds_nothing(cargo: Cargo, record_property: Callable[[str, object], None]) -> None:
    """What is unsafe in Rust: the arena, and elements as bytes. Miri runs no C++.

    Of the safe code only short suites: the checker of models would take Miri ten minutes.
    """
    safe = ["--test", "model_example", "--test", "input", "--test", "verdict"]
    line = ["miri", "test", "--locked", "-p", "tflm", "-p", "detector", "--lib", *safe]
    log = cargo(line, target_dir="miri", environ=miri())
    add_up(log, record_property, 30)
