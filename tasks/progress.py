"""Progress of long work, independent of where it is shown (terminal, log, Prefect UI)."""

import logging
import time
from collections.abc import Callable

# (done, total, unit): called often; the receiver decides how much of it to show.
Progress = Callable[[int, int, str], None]


def silent(done: int, total: int, unit: str) -> None:
    """Shows nothing."""


def logged(logger: logging.Logger, what: str, *, every_seconds: float = 5.0) -> Progress:
    """Progress as log lines, at most one every `every_seconds` and always the last one."""
    started = last = time.monotonic()

    def show(done: int, total: int, unit: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < every_seconds and done < total:
            return
        last = now
        rate = done / max(now - started, 1e-6)
        logger.info("%s: %d of %d %s (%.3g %s/s)", what, done, total, unit, rate, unit)

    return show
