"""Reaching the Prefect server that keeps targets and automations."""

import os

from deployments import prefect_server
from deployments.stack_settings import apply_stack_environment, user_prefect_url
from tasks.errors import PipelineError


def reach_server() -> None:
    """Points Prefect, not imported yet, at the server. Raises `PipelineError` where there is none."""
    apply_stack_environment()
    url = user_prefect_url() or os.environ.get("PREFECT_API_URL")
    if url is None:
        raise PipelineError("no Prefect server runs here", next_step="`f2f up` starts one, or set PREFECT_API_URL")
    if not prefect_server.healthy(url):
        raise PipelineError(
            f"the Prefect server at {url} does not answer", next_step="start it, or unset PREFECT_API_URL"
        )
    os.environ["PREFECT_API_URL"] = url  # also where only .env names it
