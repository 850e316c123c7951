"""The alerts as Prefect automations: one file each in deployments/automations/, made or brought up to date by name.

A file's `subject` and `body` are Jinja as Prefect renders it for automations; every target (alert_targets.py) gets
them, a webhook with the event's payload beside. Without a target an automation has no such action and tells nobody.
Whether it is enabled is the user's choice and stays; everything else is as in the file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.schemas.automations import Automation, AutomationCore
from pydantic import BaseModel, ConfigDict, ValidationError

from deployments.alert_targets import Target, targets
from tasks.errors import PipelineError
from tasks.settings import PROJECT

PREFIX = "f2f: "  # of the automations' names: those are ours
AUTOMATIONS = "deployments/automations"
PAGE = 200
WEBHOOK_PAYLOAD = """{%% set subject %%}%(subject)s{%% endset %%}{%% set text %%}%(body)s{%% endset %%}\
{"alert": "%(name)s", "subject": {{ subject | trim | tojson }}, "text": {{ text | trim | tojson }}, \
"event": {{ event.event | tojson }}, "id": "{{ event.id }}", "occurred": "{{ event.occurred.isoformat() }}", \
"resource": {{ event.resource | tojson }}, "payload": {{ event.payload | tojson }}}"""


class AutomationFileInvalid(PipelineError):
    """A file of deployments/automations/ that makes no automation."""


class AutomationFile(BaseModel):
    """One alert as it is written. `actions`: what it does beside telling; without a `body` it tells nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    description: str
    trigger: dict[str, Any]
    subject: str = ""
    body: str = ""
    actions: list[dict[str, Any]] = []


@dataclass(frozen=True)
class Reconciled:
    """Names of what was made, brought up to date, taken away, and found as it should be."""

    created: tuple[str, ...]
    updated: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: tuple[str, ...]
    ids: tuple[str, ...]  # of all that are there now


def reconcile(folder: Path = PROJECT / AUTOMATIONS, to: Sequence[Target] | None = None) -> Reconciled:
    """Makes the server's automations of ours what the files and the targets say (`to`: all there are).

    Any number of times, nothing is made twice. Raises `AutomationFileInvalid`, and changes nothing then.
    """
    to = targets() if to is None else to
    wanted = {automation.name: automation for automation in (as_automation(file, to) for file in load(folder))}
    created, updated, removed, unchanged = [], [], [], []
    with get_client(sync_client=True) as client:
        there: dict[str, Automation] = {}
        for found in _ours(client):
            if found.name in wanted and found.name not in there:
                there[found.name] = found
            else:  # its file has gone, or two made it at the same moment
                client.delete_automation(found.id)
                removed.append(found.name)
        for name, automation in wanted.items():
            if name not in there:
                client.create_automation(automation)
                created.append(name)
                continue
            automation = automation.model_copy(update={"enabled": there[name].enabled})
            if _content(automation) == _content(there[name]):
                unchanged.append(name)
            else:
                client.update_automation(there[name].id, automation)
                updated.append(name)
        ids = tuple(sorted(str(found.id) for found in _ours(client)))
    return Reconciled(tuple(created), tuple(updated), tuple(removed), tuple(unchanged), ids)


def load(folder: Path) -> list[AutomationFile]:
    """The files, by name. Raises `AutomationFileInvalid`."""
    return [_read(path) for path in sorted(folder.glob("*.yaml"))]


def as_automation(file: AutomationFile, to: Sequence[Target]) -> AutomationCore:
    """The automation that tells all of `to`. Raises `AutomationFileInvalid`."""
    messages = [_message(file, target) for target in to] if file.body else []
    try:
        return AutomationCore.model_validate(
            {
                "name": PREFIX + file.name,
                "description": file.description,
                "enabled": True,
                "trigger": file.trigger,
                "actions": [*file.actions, *messages],
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise AutomationFileInvalid(
            f"alert {file.name!r}: {'.'.join(map(str, first['loc']))}: {first['msg']}",
            next_step=f"correct its file in {AUTOMATIONS}/; Prefect's documentation of automations has every field",
        ) from error


def _read(path: Path) -> AutomationFile:
    try:
        return AutomationFile.model_validate(yaml.safe_load(path.read_text()))
    except (yaml.YAMLError, ValidationError) as error:
        raise AutomationFileInvalid(f"{path}: {error}", next_step="the other files beside it show the form") from error


def _message(file: AutomationFile, target: Target) -> dict[str, Any]:
    block = {"block_document_id": str(target.block)}
    subject, body = file.subject.strip(), file.body.strip()
    if target.kind == "webhook":
        payload = WEBHOOK_PAYLOAD % {"name": file.name, "subject": subject, "body": body}
        return {"type": "call-webhook", **block, "payload": payload}
    return {"type": "send-notification", **block, "subject": subject, "body": body}


def _ours(client: SyncPrefectClient) -> Iterator[Automation]:
    """Our automations on the server, in an order that is the same each time."""
    found: list[Automation] = []
    while page := client.read_automations(limit=PAGE, offset=len(found)):
        found += page
    mine = [automation for automation in found if automation.name.startswith(PREFIX)]
    yield from sorted(mine, key=lambda automation: automation.id)


def _content(automation: AutomationCore) -> dict[str, Any]:
    """What two automations are compared by: as one that is about to be made, without what the server adds."""
    return AutomationCore.model_validate(automation.model_dump()).model_dump()
