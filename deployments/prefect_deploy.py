"""The work pool, its queues and the deployments of ./prefect.yaml; run by `f2f up` in a process of its own.

Deployments are made or updated by name, so that running it twice makes nothing twice. A queue that is there keeps its
limit: it may have been changed by a person. The same holds for alerts: ./deployments/automations. Writes the names and
ids of all deployments in the pool, and the ids of the alerts, to the file named on the command line.
"""

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path

import yaml  # type: ignore[import-untyped]
from prefect.cli import app
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.flows import load_flow_from_entrypoint
from prefect.workers.process import ProcessWorker

from deployments.alerts import AUTOMATIONS, reconcile
from deployments.prefect_server import POOL, QUEUES


def check_flows() -> None:
    """Loads every flow that ./prefect.yaml names. `prefect deploy` takes one that cannot be imported, without its form.

    Raises what the import raised.
    """
    for item in yaml.safe_load(Path("prefect.yaml").read_text())["deployments"]:
        load_flow_from_entrypoint(item["entrypoint"], use_placeholder_flow=False)


async def make_pool() -> None:
    """The process work pool, if it is not there."""
    async with get_client() as client:
        try:
            await client.read_work_pool(POOL)
        except ObjectNotFound:
            template = ProcessWorker.get_default_base_job_template()
            with suppress(ObjectAlreadyExists):
                await client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))


async def make_queues() -> None:
    """The pool's work queues that are not there."""
    async with get_client() as client:
        for priority, queue in enumerate(QUEUES, start=1):
            try:
                await client.read_work_queue_by_name(queue.name, work_pool_name=POOL)
            except ObjectNotFound:
                with suppress(ObjectAlreadyExists):
                    await client.create_work_queue(
                        queue.name,
                        description=queue.description,
                        concurrency_limit=queue.limit,
                        priority=priority,
                        work_pool_name=POOL,
                    )


async def made() -> dict[str, list[str]]:
    """Names and ids of the deployments in the pool."""
    async with get_client() as client:
        pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL]))
        found = await client.read_deployments(work_pool_filter=pool)
    return {"names": sorted(item.name for item in found), "ids": [str(item.id) for item in found]}


def main() -> None:
    """Flows, pool, queues, deployments, alerts, record."""
    check_flows()
    asyncio.run(make_pool())
    asyncio.run(make_queues())
    try:
        sys.argv[1:], record = ["--no-prompt", "deploy", "--all"], sys.argv[1]
        app()
    except SystemExit as stop:
        if stop.code:
            raise
    folder = Path(AUTOMATIONS)
    alerts = reconcile(folder).ids if folder.is_dir() else ()
    Path(record).write_text(json.dumps({**asyncio.run(made()), "automations": alerts}))


if __name__ == "__main__":
    main()
