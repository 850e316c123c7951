"""Installs the browser that tests open the Prefect UI in, for `make test` alone: nothing that ships needs one.

Debian's chromium, by apt-get where this is root. Best effort: where it cannot be had, a line says what to type, and the
tests that need it are skipped.
"""

import os
import shutil
import subprocess
import sys

from deployments.firmware_tools import APT
from tasks.errors import PipelineError
from tasks.toolchain import apt_install

NAMES = ("chromium", "google-chrome")  # executables; chromium-browser is a stub on Ubuntu that wants snapd
PACKAGE = "chromium"
TIME_LIMIT = 900.0  # seconds, each step


class BrowserMissing(PipelineError):
    """No browser on this machine."""


def find_browser() -> str:
    """Path of the browser. Raises `BrowserMissing`."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise BrowserMissing("chromium is not on this machine", next_step=apt_install([PACKAGE]))
    return found


def main() -> int:
    """Exit code 0, always. Takes no time when it is there."""
    try:
        find_browser()
    except BrowserMissing as missing:
        said = install() if os.geteuid() == 0 and shutil.which("apt-get") else missing.message
        if said:
            _say(f"the tests of the Prefect UI will be skipped: {said}\n  next: {missing.next_step}")
    return 0


def install() -> str:
    """Installs it; returns the last words of apt-get where that failed."""
    _say("installing chromium with apt-get (some 0.5 GB on disk)")
    # --no-remove: what does not fit beside the user's packages is not installed instead of them.
    line = [*APT, "install", "-y", "--no-install-recommends", "--no-remove", PACKAGE]
    if not _run(line):
        return ""
    return _run([*APT, "update"]) or _run(line)  # the package lists may be absent or old


def _run(line: list[str]) -> str:
    """Nothing, or the last words of a command that failed."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        answer = subprocess.run(
            line, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIME_LIMIT
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    words = (answer.stderr.strip() or answer.stdout.strip() or "no word").splitlines()[-1]
    return f"`{' '.join(line)}` failed ({answer.returncode}): {words}" if answer.returncode else ""


def _say(text: str) -> None:
    print(f"browser: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
