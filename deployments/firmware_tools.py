"""Makes the firmware's tool chain present: Rust as pinned, the crates, and GCC and QEMU from Debian's packages.

`make demo` and `make test` call it with --best-effort: what cannot be installed (no root, no network, no Debian) is
named with the command that installs it, and what needs none of it goes on. Takes no time when all is there.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployments.processes import Say, locked, tail
from tasks.errors import PipelineError
from tasks.toolchain import (
    ARM_PACKAGES,
    FIRMWARE,
    HOST_PACKAGES,
    QEMU_PACKAGES,
    MissingTool,
    apt_install,
    find_arm_gcc,
    find_cargo,
    find_host_compiler,
    find_qemu,
    find_rustc,
    find_rustup,
    missing_components,
    pinned_rust,
    rust_environment,
)

Run = Callable[[Sequence[str], Mapping[str, str]], None]  # a command, and what is added to its environment
APT = ("apt-get", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20")
APT_LISTS = Path("/var/lib/apt/lists")
COMMAND_SECONDS = 1800.0
SIGN_OF_LIFE_SECONDS = 10.0


class CommandFailed(PipelineError):
    """A command of an installation ended with an error, or did not end."""


@dataclass(frozen=True)
class Gap:
    """One thing that is missing: Debian packages that bring it, or else the command in `error.next_step`."""

    error: MissingTool
    packages: tuple[str, ...] = ()


def gaps(firmware: Path = FIRMWARE) -> list[Gap]:
    """What is missing on this machine. Changes nothing."""
    found: list[Gap] = []
    for find, packages in (
        (find_host_compiler, HOST_PACKAGES),
        (find_arm_gcc, ARM_PACKAGES),
        (find_qemu, QEMU_PACKAGES),
        (find_rustc, ()),
        (find_cargo, ()),
        (_check_components, ()),
    ):
        with _kept(found, packages):
            find()
    if not any(not gap.packages for gap in found):  # cargo itself is there
        with _kept(found, ()):
            _check_crates(firmware)
    return found


def install(data_dir: Path, say: Say, *, run: Run, root: bool, firmware: Path = FIRMWARE) -> list[Gap]:
    """Installs what is missing, as far as that is possible here; returns what still is. Raises nothing of its own."""
    with locked(data_dir / "run" / "firmware-tools.lock", say, "installation of the firmware's tools"):
        found = gaps(firmware)
        packages = [name for gap in found for name in gap.packages]
        if packages and root:
            _attempt(say, lambda: _apt_get(packages, run, say))
        if any(not gap.packages for gap in found):
            _attempt(say, lambda: _install_rust(run, say, root=root))
            _attempt(say, lambda: _fetch_crates(firmware, run, say))
        return gaps(firmware)


def report(found: Sequence[Gap], *, best_effort: bool) -> str:
    """What is missing, and the commands that bring it, each once."""
    packages = [name for gap in found for name in gap.packages]
    commands = [apt_install(packages)] if packages else []
    commands += [gap.error.next_step for gap in found if not gap.packages]
    lines = [
        "WARNING: firmware cannot be built or emulated here yet; everything that needs none of it works"
        if best_effort
        else "error: firmware cannot be built or emulated here yet",
        *(f"  missing: {line}" for line in dict.fromkeys(gap.error.message for gap in found)),
        *(f"  next: {line}" for line in dict.fromkeys(commands)),
        "  then run the same command again",
    ]
    return "\n".join(lines)


@contextlib.contextmanager
def _kept(found: list[Gap], packages: tuple[str, ...]) -> Iterator[None]:
    try:
        yield
    except MissingTool as error:
        found.append(Gap(error, packages))


def _check_components() -> None:
    try:
        absent = missing_components()
    except MissingTool:
        return  # of rustc: already said
    if absent:
        channel = pinned_rust().channel
        raise MissingTool(
            f"Rust {channel} is here without {', '.join(absent)}",
            next_step=f"rustup component add --toolchain {channel} {' '.join(absent)}",
        )


def _check_crates(firmware: Path) -> None:
    """Whether the firmware can be built without network."""
    line = [str(find_cargo().path), "fetch", "--locked", "--offline"]
    answer = subprocess.run(
        line, cwd=firmware, env={**os.environ, **rust_environment()}, capture_output=True, text=True, check=False
    )
    if answer.returncode:
        words = (answer.stderr.strip() or "cargo fetch failed").splitlines()[0]
        raise MissingTool(
            f"the firmware's crates are not all on this machine ({words})",
            next_step=f"cd {firmware} && cargo fetch --locked",
        )


def _attempt(say: Say, step: Callable[[], None]) -> None:
    """One failed step does not stop the next; what it leaves missing is in the report."""
    try:
        step()
    except PipelineError as error:
        say(f"firmware tools: {error.message}")


def _apt_get(packages: Sequence[str], run: Run, say: Say) -> None:
    if not shutil.which("apt-get"):
        say("firmware tools: no apt-get here; the names below are those of Debian's packages")
        return
    size = " (2.4 GB on disk)" if ARM_PACKAGES[0] in packages else ""
    say(f"firmware tools: installing {' '.join(packages)} with apt-get{size}")
    # --no-remove: what does not fit beside the user's packages is not installed instead of them.
    line = [*APT, "install", "-y", "--no-install-recommends", "--no-remove", *packages]
    try:
        run(line, {})
    except CommandFailed:  # the package lists may be absent or old
        run([*APT, "update"], {})
        run(line, {})


def _install_rust(run: Run, say: Say, *, root: bool) -> None:
    """The toolchain with targets and components, by rustup; rustup itself where Debian has it and this is root."""
    if all(_there(find) for find in (find_rustc, find_cargo)) and not missing_components():
        return
    if not _there(find_rustup):
        if not (root and shutil.which("apt-get")):
            return
        if not any(APT_LISTS.glob("*_Packages*")):  # a fresh container; lists of any age know whether there is one
            run([*APT, "update"], {})
        if not _has_candidate("rustup"):
            return
        _apt_get(["rustup"], run, say)
    line = pinned_rust().install
    say(f"firmware tools: installing Rust {pinned_rust().channel} with rustup (0.7 GB on disk)")
    run([str(find_rustup().path), *line[1:]], {})


def _fetch_crates(firmware: Path, run: Run, say: Say) -> None:
    if not _there(find_cargo) or _there(lambda: _check_crates(firmware)):
        return
    say("firmware tools: fetching the crates in firmware/Cargo.lock")
    line = [str(find_cargo().path), "fetch", "--locked", "--manifest-path", str(firmware / "Cargo.toml")]
    run(line, rust_environment())


def _there(find: Callable[[], object]) -> bool:
    try:
        find()
    except MissingTool:
        return False
    return True


def _has_candidate(package: str) -> bool:
    """Whether this machine's package lists know a version of `package`."""
    answer = subprocess.run(
        ["apt-cache", "policy", package], env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False
    )
    return "Candidate:" in answer.stdout and "Candidate: (none)" not in answer.stdout


def visible(data_dir: Path, say: Say) -> Run:
    """Runs a command with its output in a log and a sign of life every ten seconds. It raises `CommandFailed`."""
    log = data_dir / "logs" / "firmware-tools.log"

    def run(line: Sequence[str], environment: Mapping[str, str]) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        shown = " ".join(line)
        try:
            with log.open("wb") as output:
                process = subprocess.Popen(
                    line,
                    env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", **environment},
                    cwd=FIRMWARE,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
        except OSError as error:
            raise CommandFailed(f"`{shown}` does not start ({error})") from error
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(SIGN_OF_LIFE_SECONDS)
                    break
                waited = time.monotonic() - started
                if waited > COMMAND_SECONDS:
                    raise CommandFailed(
                        f"`{shown}` did not end within {COMMAND_SECONDS:.0f} s; its last words:\n{tail(log, 3)}"
                    )
                say(f"firmware tools: {waited:.0f} s; now: {tail(log, 1).strip()}")
        finally:
            if process.poll() is None:  # Ctrl-C
                process.terminate()
                process.wait()
        if process.returncode:
            raise CommandFailed(f"`{shown}` failed ({process.returncode}); the end of {log}:\n{tail(log, 5)}")

    return run


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: all is there (or --best-effort), 1: something is missing, 130: interrupted."""
    parser = argparse.ArgumentParser(prog="python -m deployments.firmware_tools", description=__doc__)
    parser.add_argument("--best-effort", action="store_true", help="warn and exit 0 where something stays missing")
    best_effort = parser.parse_args(arguments).best_effort

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        found = gaps()
        if found:
            from tasks.settings import settings  # takes longer than all of the above

            data_dir = settings().data_dir.absolute()
            found = install(data_dir, say, run=visible(data_dir, say), root=os.geteuid() == 0)
    except KeyboardInterrupt:
        say("firmware tools: interrupted; the same command goes on where this one was")
        return 130
    if found:
        say(f"firmware tools: {report(found, best_effort=best_effort)}")
    return 1 if found and not best_effort else 0


if __name__ == "__main__":
    sys.exit(main())
