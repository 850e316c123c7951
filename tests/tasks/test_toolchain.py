"""Where tools are found, what their versions are, and what is said of one that lacks. PATH holds small shell scripts
that answer as the real programs do; the real ones are asked where they are installed. Installs nothing.
"""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks import toolchain
from tasks.toolchain import (
    FIRMWARE,
    MissingTool,
    find_arm_gcc,
    find_cargo,
    find_esp_toolchain,
    find_host_compiler,
    find_qemu,
    find_rustc,
    find_rustup,
    missing_components,
    newlib_version,
    pinned_rust,
    toolchain_versions,
)

CHANNEL = "1.95.0"
APT = "sudo apt-get install --no-install-recommends"
ARM = f"{APT} gcc-arm-none-eabi libnewlib-arm-none-eabi libstdc++-arm-none-eabi-newlib"
RUSTUP_INSTALL = (
    f"rustup toolchain install {CHANNEL} --profile minimal --no-self-update --component rustfmt,clippy "
    "--target thumbv7em-none-eabihf,thumbv8m.main-none-eabihf"
)


class FakeMachine:
    """A machine with nothing on PATH and nothing of Rust, until the test puts it there."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin, self.cargo_home, self.rustup_home = folder / "bin", folder / "cargo", folder / "rustup"
        self.bin.mkdir()
        for name in ("RUSTUP_TOOLCHAIN", "RUSTUP_AUTO_INSTALL"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PATH", str(self.bin))
        monkeypatch.setenv("CARGO_HOME", str(self.cargo_home))
        monkeypatch.setenv("RUSTUP_HOME", str(self.rustup_home))

    def program(self, name: str, script: str, folder: Path | None = None) -> Path:
        """An executable of this name that runs `script` with the shell's own commands."""
        path = (folder or self.bin) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def rustup(self, toolchains: str = "stable-x86_64-unknown-linux-gnu (active, default)") -> None:
        """rustup with a default toolchain that is not the pinned one."""
        answer = f'case "$1" in --version) echo "rustup 1.29.0 (28d1352db 2026-03-05)";; *) echo "{toolchains}";; esac'
        self.program("rustup", answer)
        (self.rustup_home / "toolchains" / "stable-x86_64-unknown-linux-gnu").mkdir(parents=True, exist_ok=True)

    def rust(
        self, targets: tuple[str, ...] | None = None, components: tuple[str, ...] = ("rustfmt", "cargo-clippy")
    ) -> Path:
        """The pinned toolchain, and rustup's programs that run it where RUSTUP_TOOLCHAIN says so."""
        sysroot = self.rustup_home / "toolchains" / f"{CHANNEL}-x86_64-unknown-linux-gnu"
        for target in pinned_rust().targets if targets is None else targets:
            (sysroot / "lib" / "rustlib" / target / "lib").mkdir(parents=True)
        for name in components:
            self.program(name, "", sysroot / "bin")
        for name, commit in (("rustc", "59807616e 2026-04-14"), ("cargo", "f2d3ce0bd 2026-03-21")):
            script = f'[ "$1" = --print ] && echo {sysroot} && exit\n'
            script += f'[ "$RUSTUP_TOOLCHAIN" = {CHANNEL} ] && echo "{name} {CHANNEL} ({commit})" && exit\n'
            self.program(name, f'{script}echo "{name} 1.99.1 (x y)"')
        return sysroot

    def arm_gcc(self, *, newlib: bool = True, cxx: bool = True) -> None:
        """Debian's GCC, with the parts that are named."""
        headers = {"newlib.h": newlib, "cstdint": cxx}
        script = ['case "$*" in', '*--version*) echo "arm-none-eabi-gcc (15:12.2.rel1-1) 12.2.1 20221205"; echo more;;']
        script += [f"*{header}*) exit 1;;" for header, there in headers.items() if not there]
        script += ["""*newlib.h*) echo '#define _NEWLIB_VERSION "3.3.0"';;""", "esac"]
        for name in ("gcc", "g++"):
            self.program(f"arm-none-eabi-{name}", "\n".join(script))

    def qemu(self) -> None:
        self.program("qemu-system-arm", 'echo "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)"; echo Copyright')

    def host_compiler(self) -> None:
        for name in ("cc", "c++"):
            self.program(name, "echo 12.2.0")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    return FakeMachine(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("find", "message", "next_step"),
    [
        (find_host_compiler, "cc is not on PATH", f"{APT} g++"),
        (find_arm_gcc, "arm-none-eabi-gcc is not on PATH", ARM),
        (newlib_version, "arm-none-eabi-g++ is not on PATH", ARM),
        (find_qemu, "qemu-system-arm is not on PATH", f"{APT} qemu-system-arm"),
        (find_rustup, "rustup is not on PATH", "install rustup: `sudo apt-get install rustup` on Debian 13, "),
        (find_rustc, "rustc is not on PATH", f"; then `{RUSTUP_INSTALL}`"),
        (find_cargo, "cargo is not on PATH", f"; then `{RUSTUP_INSTALL}`"),
        (find_esp_toolchain, "rustup is not on PATH", "install rustup: "),
    ],
)
@pytest.mark.usefixtures("machine")
def test_a_tool_that_is_not_there_is_named_with_the_command_that_brings_it(
    find: Callable[[], object], message: str, next_step: str
) -> None:
    with pytest.raises(MissingTool) as missing:
        find()
    assert missing.value.message == message
    assert next_step in missing.value.next_step
    again = pickle.loads(pickle.dumps(missing.value))
    assert (type(again), str(again)) == (MissingTool, str(missing.value))


def test_every_version_is_what_the_program_says_of_itself(machine: FakeMachine) -> None:
    machine.rustup()
    machine.rust()
    machine.arm_gcc()
    machine.qemu()
    machine.host_compiler()
    assert toolchain_versions() == {
        "rustc": "1.95.0 (59807616e 2026-04-14)",
        "cargo": "1.95.0 (f2d3ce0bd 2026-03-21)",
        "arm-none-eabi-gcc": "12.2.1 20221205 (15:12.2.rel1-1)",
        "qemu-system-arm": "7.2.22 (Debian 1:7.2+dfsg-7)",
        "newlib": "3.3.0",
    }
    assert find_rustup().version == "1.29.0 (28d1352db 2026-03-05)"
    assert find_host_compiler().version == "12.2.0"
    assert find_arm_gcc().path == machine.bin / "arm-none-eabi-gcc"
    assert missing_components() == []


def test_the_pinned_toolchain_is_asked_whatever_the_user_has_chosen(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.rustup()
    machine.rust()
    monkeypatch.setenv("RUSTUP_TOOLCHAIN", "nightly")
    assert find_rustc().version.startswith(CHANNEL)


def test_rust_is_found_where_rustup_puts_it_before_path_knows(machine: FakeMachine) -> None:
    machine.rustup()
    machine.rust()
    machine.cargo_home.mkdir()
    machine.bin.rename(machine.cargo_home / "bin")
    assert find_rustup().path == machine.cargo_home / "bin" / "rustup"
    assert find_cargo().path == machine.cargo_home / "bin" / "cargo"


def test_a_toolchain_that_rustup_would_have_to_fetch_is_not_fetched_by_looking(machine: FakeMachine) -> None:
    machine.rustup()
    for name in ("rustc", "cargo"):  # as rustup before 1.28 does
        machine.program(name, f"echo fetched > {machine.bin}/trace; echo '{name} {CHANNEL} (x y)'")
    for find in (find_rustc, find_cargo):
        with pytest.raises(MissingTool, match=f"^Rust {CHANNEL} is not installed\n  next: {RUSTUP_INSTALL}$"):
            find()
    assert not (machine.bin / "trace").exists()


def test_another_version_is_refused_with_both(machine: FakeMachine) -> None:
    machine.program("rustc", "echo 'rustc 1.63.0 (4b91a6ea7 2022-08-08)'")
    with pytest.raises(MissingTool, match=rf"rustc is version 1\.63\.0 .*, and firmware is built with {CHANNEL}"):
        find_rustc()


def test_a_missing_target_is_named_with_the_command_that_adds_it(machine: FakeMachine) -> None:
    machine.rustup()
    machine.rust(targets=("thumbv7em-none-eabihf",))
    with pytest.raises(MissingTool) as missing:
        find_rustc()
    assert missing.value.message == f"Rust {CHANNEL} has no standard library for thumbv8m.main-none-eabihf"
    assert missing.value.next_step == f"rustup target add --toolchain {CHANNEL} thumbv8m.main-none-eabihf"


def test_missing_components_are_named(machine: FakeMachine) -> None:
    machine.rustup()
    machine.rust(components=("rustfmt",))
    assert missing_components() == ["clippy"]


@pytest.mark.parametrize(
    ("parts", "message"),
    [({"newlib": False}, r"has no newlib: .*<newlib\.h>"), ({"cxx": False}, r"has no C\+\+ library: .*<cstdint>")],
)
def test_a_gcc_without_its_libraries_is_not_enough(machine: FakeMachine, parts: dict[str, bool], message: str) -> None:
    machine.arm_gcc(**parts)
    with pytest.raises(MissingTool, match=message) as missing:
        find_arm_gcc()
    assert missing.value.next_step == ARM


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo cannot load libfoo >&2; exit 3", "failed: cannot load libfoo"),
        ("exit 3", "failed: exit code 3"),
        ("echo something else", "says 'something else', which is no version"),
        ("", "says '', which is no version"),
    ],
)
def test_a_program_that_does_not_work_is_missing_in_its_own_words(
    machine: FakeMachine, script: str, message: str
) -> None:
    machine.program("qemu-system-arm", script)
    with pytest.raises(MissingTool, match=message) as missing:
        find_qemu()
    assert str(machine.bin / "qemu-system-arm") in missing.value.message
    assert missing.value.next_step == f"{APT} qemu-system-arm"


def test_a_file_that_is_no_program_is_missing(machine: FakeMachine) -> None:
    machine.program("qemu-system-arm", "").write_bytes(b"\x7fELF")
    with pytest.raises(MissingTool, match="does not run"):
        find_qemu()


def test_espressifs_toolchain_needs_its_rust_and_its_gcc(machine: FakeMachine) -> None:
    how = "cargo install espup && espup install && . ~/export-esp.sh"
    machine.rustup()
    machine.rust()
    with pytest.raises(MissingTool) as missing:
        find_esp_toolchain()
    assert missing.value.message == "Espressif's Rust is not here: `rustup toolchain list` shows no esp"
    assert missing.value.next_step == how
    machine.rustup("esp\nstable-x86_64-unknown-linux-gnu (default)")
    with pytest.raises(MissingTool, match="xtensa-esp32s3-elf-gcc is not on PATH") as missing:
        find_esp_toolchain()
    assert missing.value.next_step.startswith("`. ~/export-esp.sh` in this shell")
    machine.program("xtensa-esp32s3-elf-gcc", "echo 'xtensa-esp-elf-gcc (crosstool-NG esp-15.2.0_20250920) 15.2.0'")
    machine.program("rustc", '[ "$RUSTUP_TOOLCHAIN" = esp ] && echo "rustc 1.95.0-nightly (abc 2026-05-01) (1.95.0.0)"')
    rustc, gcc = find_esp_toolchain()
    assert rustc.version == "1.95.0-nightly (abc 2026-05-01) (1.95.0.0)"
    assert gcc.version == "15.2.0 (crosstool-NG esp-15.2.0_20250920)"


def test_a_toolchain_whose_name_only_begins_like_espressifs_is_not_it(machine: FakeMachine) -> None:
    machine.rustup("esp-old\nespresso")
    with pytest.raises(MissingTool, match="shows no esp"):
        find_esp_toolchain()


def test_what_is_installed_is_what_the_toolchain_file_says(tmp_path: Path) -> None:
    assert " ".join(pinned_rust().install) == RUSTUP_INSTALL
    (tmp_path / "rust-toolchain.toml").write_text('[toolchain]\nchannel = "1.80.1"\n')
    assert pinned_rust(tmp_path).install == [
        *("rustup", "toolchain", "install", "1.80.1", "--profile", "default", "--no-self-update")
    ]


def test_the_real_tools_are_found_with_their_versions() -> None:
    try:
        versions = toolchain_versions()
    except MissingTool as missing:
        pytest.skip(f"needs the firmware's tools: {missing.message}")
    assert sorted(versions) == ["arm-none-eabi-gcc", "cargo", "newlib", "qemu-system-arm", "rustc"]
    assert all(version[0].isdigit() for version in versions.values())
    assert versions["rustc"].startswith(toolchain.pinned_rust().channel)
    assert (FIRMWARE / "Cargo.toml").is_file()
