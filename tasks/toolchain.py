"""The programs that firmware is built and emulated with: where they are, which versions, and how to get one that lacks.

Finding changes nothing and needs no network; `deployments/firmware_tools.py` installs. The Rust toolchain is the one in
`firmware/rust-toolchain.toml` and no other, whatever the default or RUSTUP_TOOLCHAIN says: it is part of a reproducible
image. Debian's versions of the rest are taken as they are and recorded.
"""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import PipelineError

FIRMWARE = Path(__file__).resolve().parent.parent / "firmware"
HOST_PACKAGES = ("g++",)
ARM_PACKAGES = ("gcc-arm-none-eabi", "libnewlib-arm-none-eabi", "libstdc++-arm-none-eabi-newlib")
QEMU_PACKAGES = ("qemu-system-arm",)
ESP_TOOLCHAIN = "esp"
ESP_GCC = "xtensa-esp32s3-elf-gcc"
_RUSTUP = (
    "install rustup: `sudo apt-get install rustup` on Debian 13, Ubuntu 24.04 or newer, elsewhere "
    "`curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --default-toolchain none`"
)
_ESP = "cargo install espup && espup install && . ~/export-esp.sh"


class MissingTool(PipelineError):
    """A program, or a part of one, is not on this machine, or does not run, or is another version."""


@dataclass(frozen=True)
class Tool:
    """A program that runs: `version` is what it says of itself, `package` the Debian package or rustup toolchain."""

    name: str
    path: Path
    version: str
    package: str


@dataclass(frozen=True)
class Pinned:
    """What `firmware/rust-toolchain.toml` asks for."""

    channel: str
    profile: str
    components: tuple[str, ...]
    targets: tuple[str, ...]

    @property
    def install(self) -> list[str]:
        """The command that brings it. Spelled out, since rustup before 1.28 reads the file for no install command."""
        line = ["rustup", "toolchain", "install", self.channel, "--profile", self.profile, "--no-self-update"]
        for option, values in (("--component", self.components), ("--target", self.targets)):
            line += [option, ",".join(values)] if values else []
        return line


def pinned_rust(firmware: Path = FIRMWARE) -> Pinned:
    """The Rust toolchain of the workspace in `firmware`."""
    wanted = tomllib.loads((firmware / "rust-toolchain.toml").read_text())["toolchain"]
    return Pinned(
        wanted["channel"],
        wanted.get("profile", "default"),
        tuple(wanted.get("components", ())),
        tuple(wanted.get("targets", ())),
    )


def rust_environment(channel: str | None = None) -> dict[str, str]:
    """What to add to the environment of cargo, rustc: the pinned toolchain, and an error rather than a download."""
    return {"RUSTUP_TOOLCHAIN": channel or pinned_rust().channel, "RUSTUP_AUTO_INSTALL": "0"}


def find_rustup() -> Tool:
    """rustup. Raises `MissingTool`."""
    path = _program("rustup", _RUSTUP)
    return Tool("rustup", path, _parsed(path, r"rustup (.+)", _RUSTUP), "rustup")


def find_rustc() -> Tool:
    """rustc of the pinned version with the standard library for every board. Raises `MissingTool`."""
    tool = _find_rust("rustc")
    pinned = pinned_rust()
    libraries = Path(_output([tool.path, "--print", "sysroot"], rust_environment(), _how_rust())) / "lib" / "rustlib"
    absent = [target for target in pinned.targets if not (libraries / target / "lib").is_dir()]
    if absent:
        raise MissingTool(
            f"Rust {pinned.channel} has no standard library for {', '.join(absent)}",
            next_step=f"rustup target add --toolchain {pinned.channel} {' '.join(absent)}",
        )
    return tool


def find_cargo() -> Tool:
    """cargo of the pinned version. Raises `MissingTool`."""
    return _find_rust("cargo")


def missing_components() -> list[str]:
    """Pinned components (rustfmt, clippy) whose program is not there; firmware is built without them, not checked."""
    pinned = pinned_rust()
    programs = {"clippy": "cargo-clippy", "miri": "cargo-miri"}
    rustc = find_rustc().path
    folder = Path(_output([rustc, "--print", "sysroot"], rust_environment(), _how_rust())) / "bin"
    return [name for name in pinned.components if not (folder / programs.get(name, name)).exists()]


def find_host_compiler() -> Tool:
    """The C++ compiler for this machine: Rust links with it, and the firmware's tests on the host are built by it.

    Raises `MissingTool`.
    """
    how = apt_install(HOST_PACKAGES)
    _program("cc", how)
    path = _program("c++", how)
    return Tool("c++", path, _output([path, "-dumpfullversion", "-dumpversion"], {}, how), HOST_PACKAGES[0])


def find_arm_gcc() -> Tool:
    """Arm's GCC with the headers of newlib and of its C++ library. Raises `MissingTool`."""
    how = apt_install(ARM_PACKAGES)
    gcc, gxx = (_program(f"arm-none-eabi-{name}", how) for name in ("gcc", "g++"))
    for header, what in (("newlib.h", "newlib"), ("cstdint", "C++ library")):
        if _macros(gxx, header) is None:
            raise MissingTool(f"{gcc} has no {what}: it cannot include <{header}>", next_step=how)
    version = _parsed(gcc, r"\S+ \((?P<package>[^)]*)\) (?P<version>.+)", how)
    return Tool("arm-none-eabi-gcc", gcc, version, ARM_PACKAGES[0])


def newlib_version() -> str:
    """Version of the C library that Arm's GCC links. Raises `MissingTool`."""
    how = apt_install(ARM_PACKAGES)
    macros = _macros(_program("arm-none-eabi-g++", how), "newlib.h")
    found = re.search(r'^#define _NEWLIB_VERSION "(.+)"$', macros or "", re.MULTILINE)
    if not found:
        raise MissingTool("arm-none-eabi-gcc has no newlib: it cannot include <newlib.h>", next_step=how)
    return found[1]


def find_qemu() -> Tool:
    """The emulator of the Arm boards. Raises `MissingTool`."""
    how = apt_install(QEMU_PACKAGES)
    path = _program("qemu-system-arm", how)
    return Tool("qemu-system-arm", path, _parsed(path, r"QEMU emulator version (.+)", how), QEMU_PACKAGES[0])


def find_esp_toolchain() -> tuple[Tool, Tool]:
    """Espressif's rustc and GCC for the ESP32-S3, which board xiao-esp32s3 needs. Raises `MissingTool`."""
    listed = _output([find_rustup().path, "toolchain", "list"], {}, _RUSTUP)
    if not any(line.split()[0] == ESP_TOOLCHAIN for line in listed.splitlines() if line.strip()):
        raise MissingTool(
            f"Espressif's Rust is not here: `rustup toolchain list` shows no {ESP_TOOLCHAIN}", next_step=_ESP
        )
    if not shutil.which(ESP_GCC):
        raise MissingTool(
            f"{ESP_GCC} is not on PATH", next_step=f"`. ~/export-esp.sh` in this shell; where that is missing: {_ESP}"
        )
    gcc = _program(ESP_GCC, _ESP)
    rustc = _program("rustc", _RUSTUP)
    return (
        Tool("rustc", rustc, _parsed(rustc, r"rustc (.+)", _ESP, rust_environment(ESP_TOOLCHAIN)), ESP_TOOLCHAIN),
        Tool(ESP_GCC, gcc, _parsed(gcc, r"\S+ \((?P<package>[^)]*)\) (?P<version>.+)", _ESP), "espup"),
    )


def toolchain_versions() -> dict[str, str]:
    """Version of everything that an Arm image depends on, for its record. Raises `MissingTool`."""
    tools = [find_rustc(), find_cargo(), find_arm_gcc(), find_qemu()]
    return {tool.name: tool.version for tool in tools} | {"newlib": newlib_version()}


def apt_install(packages: Sequence[str]) -> str:
    """What to type on Debian and Ubuntu."""
    return f"sudo apt-get install --no-install-recommends {' '.join(packages)}"


def _how_rust() -> str:
    """How to get the pinned toolchain: with rustup, where that is here."""
    command = " ".join(pinned_rust().install)
    return command if _where("rustup") else f"{_RUSTUP}; then `{command}`"


def _find_rust(name: str) -> Tool:
    channel, how = pinned_rust().channel, _how_rust()
    path = _program(name, how)
    toolchains = Path(os.environ.get("RUSTUP_HOME") or Path.home() / ".rustup") / "toolchains"
    if _where("rustup") and not any(toolchains.glob(f"{channel}-*")):  # rustup before 1.28 would fetch it when asked
        raise MissingTool(f"Rust {channel} is not installed", next_step=how)
    version = _parsed(path, rf"{name} (.+)", how, rust_environment())
    if version.split()[0] != channel:
        raise MissingTool(f"{path} is version {version}, and firmware is built with {channel}", next_step=how)
    return Tool(name, path, version, channel)


def _where(name: str) -> str | None:
    """Path of a program. Rust's are also found where rustup puts them: the next login would have that on PATH."""
    own = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo") / "bin"
    return shutil.which(name) or (shutil.which(name, path=own) if name in ("rustup", "rustc", "cargo") else None)


def _program(name: str, how: str) -> Path:
    if found := _where(name):
        return Path(found)
    raise MissingTool(f"{name} is not on PATH", next_step=how)


def _output(line: Sequence[str | Path], environment: Mapping[str, str], how: str) -> str:
    """What a program prints. Raises `MissingTool` with its own words where it fails."""
    try:
        answer = subprocess.run(
            line,
            env={**os.environ, "LC_ALL": "C", "RUST_BACKTRACE": "0", **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingTool(f"{line[0]} does not run ({error})", next_step=how) from error
    if answer.returncode:
        words = (answer.stderr.strip() or answer.stdout.strip() or f"exit code {answer.returncode}").splitlines()[0]
        raise MissingTool(f"`{' '.join(map(str, line))}` failed: {words}", next_step=how)
    return answer.stdout.strip()


def _parsed(path: Path, pattern: str, how: str, environment: Mapping[str, str] | None = None) -> str:
    """The version in the first line of `--version`; that of the distribution's package, if named, in brackets."""
    output = _output([path, "--version"], environment or {}, how)
    line = output.splitlines()[0] if output else ""
    found = re.fullmatch(pattern, line)
    if not found:
        raise MissingTool(f"`{path} --version` says {line!r}, which is no version", next_step=how)
    if named := found.groupdict():
        return f"{named['version']} ({named['package']})"
    return found[1].strip()


def _macros(compiler: Path, header: str) -> str | None:
    """The preprocessor macros after `#include <header>`; None where there is no such header."""
    line: list[str | Path] = [compiler, "-E", "-dM", "-x", "c++", "-include", header, os.devnull]
    try:
        return _output(line, {}, "")
    except MissingTool:
        return None
