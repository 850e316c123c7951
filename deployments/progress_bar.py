"""Progress of a foreground command on stderr: a bar on a terminal, a line now and then in a log."""

import contextlib
import logging
import sys
from collections.abc import Iterator

from tasks.progress import Progress, logged


@contextlib.contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
    """Gives the receiver for `what`; stdout stays free for results."""
    if not sys.stderr.isatty():
        logger = logging.getLogger(f"f2f.{what}")
        logger.setLevel(logging.INFO)
        if not logging.getLogger().handlers and not logger.handlers:
            logger.addHandler(logging.StreamHandler())
        yield logged(logger, what)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Bars(*columns, TextColumn("{task.fields[rate]}"), console=Console(stderr=True)) as bars:
        bar = bars.add_task(what, total=None, rate="")

        def show(done: int, total: int, unit: str) -> None:
            speed = bars.tasks[0].speed
            bars.update(bar, completed=done, total=total, rate=f"{speed:.0f} {unit}/s" if speed else "")

        yield show
