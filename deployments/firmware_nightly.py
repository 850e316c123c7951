"""Installs the nightly Rust that runs Miri, for `make test` alone: nothing that ships is built with it.

Best effort: where it cannot be had (no rustup, no network) a line says so, and the test that needs it is skipped.
"""

import os
import subprocess
import sys

from tasks.errors import PipelineError
from tasks.toolchain import FIRMWARE, find_cargo, find_rustup, pinned_rust, rust_environment

TIME_LIMIT = 600.0  # seconds, each step


def main() -> int:
    """Exit code 0, always. Takes half a second when all is there."""
    pinned = pinned_rust(FIRMWARE / "nightly")
    try:
        environment = {**os.environ, **rust_environment(pinned.channel)}
        cargo, rustup = str(find_cargo().path), str(find_rustup().path)
        if not _run([cargo, "miri", "setup", "--offline"], environment):
            _say(f"installing {pinned.channel} with Miri")
            if not _run([rustup, *pinned.install[1:]], dict(os.environ)):
                raise PipelineError(f"`{' '.join(pinned.install)}` failed")
            if not _run([cargo, "miri", "setup"], environment):  # compiles the standard library for Miri
                raise PipelineError("`cargo miri setup` failed")
    except PipelineError as error:
        _say(f"no Miri here, its test will be skipped: {error.message}")
    return 0


def _run(line: list[str], environment: dict[str, str]) -> bool:
    try:
        return (
            subprocess.run(line, env=environment, capture_output=True, timeout=TIME_LIMIT, check=False).returncode == 0
        )
    except (OSError, subprocess.SubprocessError):
        return False


def _say(text: str) -> None:
    print(f"firmware tools: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
