"""Errors that a person can act on appear in a run's log as their own two lines, not under a traceback of Prefect's."""

import logging

from tasks.errors import PipelineError


class _WithoutTraceback(logging.Filter):
    """Drops the traceback of a `PipelineError`; every other exception keeps it."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if isinstance(error, PipelineError):
            record.exc_info = None
            record.msg, record.args = "%s", (str(error),)
        return True


def install() -> None:
    """Filters the loggers of flow and task runs (once, however often it is called)."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logger = logging.getLogger(name)
        if not any(isinstance(one, _WithoutTraceback) for one in logger.filters):
            logger.addFilter(_WithoutTraceback())
