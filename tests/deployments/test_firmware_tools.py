"""What the firmware's set-up installs, in which order, and what it says where it cannot. The machine is made of small
shell scripts and the commands of an installation are played by the test; cargo is the real one where it judges crates.
Installs nothing and needs no network.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from deployments import firmware_tools
from deployments.firmware_tools import CommandFailed, Gap, gaps, install, main, report, visible
from tasks.settings import PROJECT
from tasks.toolchain import ARM_PACKAGES, FIRMWARE, MissingTool, find_cargo, find_rustc, pinned_rust
from tests.tasks.test_toolchain import APT, ARM, CHANNEL, RUSTUP_INSTALL, FakeMachine

ALL_PACKAGES = ["g++", *ARM_PACKAGES, "qemu-system-arm"]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    """A machine with apt-get, and nothing of the tool chain."""
    made = FakeMachine(tmp_path, monkeypatch)
    made.program("apt-get", "")
    made.program("apt-cache", 'echo "  Candidate: (none)"')
    return made


class Player:
    """Plays the commands of an installation on a fake machine: what they would install is there afterwards."""

    def __init__(self, machine: FakeMachine, *failing: str) -> None:
        self.machine, self.failing, self.lines = machine, list(failing), list[str]()
        self.environments = list[Mapping[str, str]]()

    def __call__(self, line: Sequence[str], environment: Mapping[str, str]) -> None:
        short = [Path(line[0]).name, *line[1:]]
        if short[0] == "apt-get":
            options = [i for i, word in enumerate(short) if word == "-o"]
            short = [word for i, word in enumerate(short) if i not in options and i - 1 not in options]
        self.lines.append(" ".join(short))
        self.environments.append(environment)
        if any(self.lines[-1].startswith(start) for start in self.failing):
            raise CommandFailed(f"`{self.lines[-1]}` failed (100)")
        installers: dict[str, Callable[[], object]] = {
            "g++": self.machine.host_compiler,
            "gcc-arm-none-eabi": self.machine.arm_gcc,
            "qemu-system-arm": self.machine.qemu,
            "rustup": self.machine.rustup,
        }
        for word in short[2:]:
            if short[0] == "apt-get" and word in installers:
                installers[word]()
        if short[:3] == ["rustup", "toolchain", "install"]:
            self.machine.rust()
        if short[:2] == ["cargo", "fetch"]:
            (self.machine.cargo_home / "registry").mkdir(parents=True)


def packages_there(machine: FakeMachine) -> None:
    """Everything that Debian's packages bring."""
    machine.host_compiler()
    machine.arm_gcc()
    machine.qemu()


def crates_when_fetched(machine: FakeMachine) -> None:
    """cargo says that crates are missing until they were fetched."""
    cargo = machine.bin / "cargo"
    no = "echo 'error: no matching package named `cc` found' >&2; exit 101"
    check = f'if [ "$1" = fetch ]; then [ -d {machine.cargo_home}/registry ] && exit; {no}; fi'
    cargo.write_text(cargo.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\n{check}\n"))


def test_where_all_is_there_nothing_is_run(machine: FakeMachine, tmp_path: Path) -> None:
    packages_there(machine)
    machine.rustup()
    machine.rust()
    played, said = Player(machine), list[str]()
    assert install(tmp_path, said.append, run=played, root=True) == []
    assert (played.lines, said) == ([], [])


def test_root_gets_everything_that_is_missing_and_no_more(machine: FakeMachine, tmp_path: Path) -> None:
    machine.rustup()
    machine.qemu()
    played, said = Player(machine), list[str]()
    assert install(tmp_path, said.append, run=played, root=True) == []
    assert played.lines == [
        f"apt-get install -y --no-install-recommends --no-remove g++ {' '.join(ARM_PACKAGES)}",
        RUSTUP_INSTALL,
    ]
    assert len(said) == 2


def test_crates_are_fetched_once_by_the_pinned_cargo_and_by_the_lock_file(machine: FakeMachine, tmp_path: Path) -> None:
    packages_there(machine)
    machine.rustup()
    machine.rust()
    crates_when_fetched(machine)
    assert "no matching package named `cc` found" in gaps()[0].error.message
    assert gaps()[0].error.next_step == f"cd {FIRMWARE} && cargo fetch --locked"
    played = Player(machine)
    for _ in range(2):
        assert install(tmp_path, lambda text: None, run=played, root=True) == []
    assert played.lines == [f"cargo fetch --locked --manifest-path {FIRMWARE / 'Cargo.toml'}"]
    assert played.environments[0]["RUSTUP_TOOLCHAIN"] == CHANNEL


def test_package_lists_are_updated_only_where_the_first_try_fails(machine: FakeMachine, tmp_path: Path) -> None:
    machine.rustup()
    machine.rust()
    played = Player(machine, "apt-get install")
    left = install(tmp_path, lambda text: None, run=played, root=True)
    install_line = f"apt-get install -y --no-install-recommends --no-remove {' '.join(ALL_PACKAGES)}"
    assert played.lines == [install_line, "apt-get update", install_line]
    assert len(left) == 3


def test_without_root_nothing_of_the_system_is_touched_and_the_rest_is_installed(
    machine: FakeMachine, tmp_path: Path
) -> None:
    machine.rustup()
    played = Player(machine)
    left = install(tmp_path, lambda text: None, run=played, root=False)
    assert played.lines == [RUSTUP_INSTALL]
    assert f"  next: {APT} {' '.join(ALL_PACKAGES)}\n" in report(left, best_effort=True)


def test_one_failed_step_does_not_stop_the_next_and_is_said(machine: FakeMachine, tmp_path: Path) -> None:
    machine.rustup()
    played, said = Player(machine, "apt-get"), list[str]()
    left = install(tmp_path, said.append, run=played, root=True)
    assert played.lines[-1] == RUSTUP_INSTALL
    assert any("apt-get update` failed (100)" in line for line in said)
    assert [gap.packages for gap in left] == [("g++",), ARM_PACKAGES, ("qemu-system-arm",)]


@pytest.mark.parametrize("lists", ["there", "absent"])
@pytest.mark.parametrize("has_rustup", [True, False], ids=["Debian 13", "Debian 12"])
def test_rustup_itself_comes_from_debian_where_debian_has_it(
    machine: FakeMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists: str, has_rustup: bool
) -> None:
    packages_there(machine)
    monkeypatch.setattr(firmware_tools, "APT_LISTS", tmp_path)
    if lists == "there":
        (tmp_path / "debian_main_binary-amd64_Packages.lz4").write_text("")
    candidate = "1.27.1-3" if has_rustup else "(none)"
    machine.program("apt-cache", f'echo "  Candidate: {candidate}"')
    played = Player(machine)
    left = install(tmp_path, lambda text: None, run=played, root=True)
    update = ["apt-get update"] if lists == "absent" else []
    if has_rustup:
        rustup = "apt-get install -y --no-install-recommends --no-remove rustup"
        assert played.lines == [*update, rustup, RUSTUP_INSTALL]
        assert left == []
    else:
        assert played.lines == update
        assert "sh.rustup.rs" in report(left, best_effort=True)


def test_a_missing_target_or_component_is_added(machine: FakeMachine, tmp_path: Path) -> None:
    packages_there(machine)
    machine.rustup()
    sysroot = machine.rust(components=("rustfmt",))
    assert [gap.error.next_step for gap in gaps()] == [f"rustup component add --toolchain {CHANNEL} clippy"]
    lines = []

    def run(line: Sequence[str], environment: Mapping[str, str]) -> None:
        lines.append(" ".join(line[1:]))
        machine.program("cargo-clippy", "", sysroot / "bin")

    assert install(tmp_path, lambda text: None, run=run, root=True) == []
    assert lines == [RUSTUP_INSTALL.removeprefix("rustup ")]


def test_a_machine_without_apt_is_told_the_names(machine: FakeMachine, tmp_path: Path) -> None:
    (machine.bin / "apt-get").unlink()
    played, said = Player(machine), list[str]()
    left = install(tmp_path, said.append, run=played, root=True)
    assert played.lines == []
    assert any("no apt-get here" in line for line in said)
    assert f"{APT} {' '.join(ALL_PACKAGES)}" in report(left, best_effort=False)


def test_the_report_names_everything_once_with_every_command_once() -> None:
    rust = MissingTool("Rust 1.95.0 is not installed", next_step=RUSTUP_INSTALL)
    gcc = Gap(MissingTool("arm-none-eabi-gcc is not on PATH", next_step=ARM), ARM_PACKAGES)
    assert report([gcc, Gap(rust), Gap(rust)], best_effort=True) == (
        "WARNING: firmware cannot be built or emulated here yet; everything that needs none of it works\n"
        "  missing: arm-none-eabi-gcc is not on PATH\n"
        "  missing: Rust 1.95.0 is not installed\n"
        f"  next: {ARM}\n"
        f"  next: {RUSTUP_INSTALL}\n"
        "  then run the same command again"
    )


@pytest.mark.parametrize(("arguments", "code", "word"), [(["--best-effort"], 0, "WARNING"), ([], 1, "error")])
def test_what_stays_missing_is_a_warning_with_best_effort_and_else_an_error(
    machine: FakeMachine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    word: str,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(arguments) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{word}: firmware cannot be built or emulated here yet" in said.err
    for tool in ("cc", "arm-none-eabi-gcc", "qemu-system-arm", "rustc", "cargo"):
        assert f"missing: {tool} is not on PATH" in said.err
    assert f"next: {APT} {' '.join(ALL_PACKAGES)}" in said.err


def test_where_all_is_there_the_command_says_nothing_and_ends_at_once(machine: FakeMachine) -> None:
    packages_there(machine)
    machine.rustup()
    machine.rust()
    started = time.monotonic()
    line = [sys.executable, "-m", "deployments.firmware_tools"]
    answer = subprocess.run(line, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert (answer.stdout, answer.stderr) == ("", "")
    assert time.monotonic() - started < 5  # half a second where nothing else runs


def test_a_failed_command_ends_with_its_own_last_words(tmp_path: Path) -> None:
    run = visible(tmp_path, lambda text: None)
    run(["sh", "-c", "[ $DEBIAN_FRONTEND$X = noninteractive1 ]"], {"X": "1"})
    with pytest.raises(CommandFailed, match=r"failed \(100\); the end of .*\n +E: Unable to locate package x"):
        run(["sh", "-c", "echo 'E: Unable to locate package x' >&2; exit 100"], {})
    with pytest.raises(CommandFailed, match="does not start"):
        run([str(tmp_path / "nothing")], {})


def test_a_command_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firmware_tools, "COMMAND_SECONDS", 0.5)
    monkeypatch.setattr(firmware_tools, "SIGN_OF_LIFE_SECONDS", 0.05)
    with pytest.raises(CommandFailed, match="did not end within"):
        visible(tmp_path, lambda text: None)(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 60"], {})
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_crates_that_are_not_here_are_seen_by_the_real_cargo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        find_rustc()
        find_cargo()
    except MissingTool as missing:
        pytest.skip(f"needs the firmware's Rust: {missing.message}")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "lib.rs").write_text("")
    package = '[package]\nname = "a"\nversion = "0.1.0"\nedition = "2024"\n'
    (tmp_path / "Cargo.toml").write_text(package)
    (tmp_path / "Cargo.lock").write_text('version = 4\n\n[[package]]\nname = "a"\nversion = "0.1.0"\n')
    monkeypatch.setenv("CARGO_HOME", str(tmp_path / "empty"))
    firmware_tools._check_crates(tmp_path)
    (tmp_path / "Cargo.toml").write_text(f'{package}[dependencies]\nitoa = "1"\n')
    with pytest.raises(MissingTool, match="crates are not all on this machine") as missing:
        firmware_tools._check_crates(tmp_path)
    assert missing.value.next_step == f"cd {tmp_path} && cargo fetch --locked"
    assert pinned_rust().channel == CHANNEL
