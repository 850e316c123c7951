"""Where alerts go: Prefect blocks on the Prefect server, their secrets encrypted there and nowhere else.

    webhook   block `Webhook`: JSON by POST. Not the "Custom Webhook" notification block: that can send nothing but two
              texts, and writes its whole address into the server's log when the receiver answers with an error.
    slack     block `Slack Webhook`, through Apprise
    email     block `Slack Webhook` too, with a mailto address: Prefect ships none for SMTP, and this one hands every
              address that is none of Slack's to Apprise as it is

Prefect 3.8.8 closes one pool of connections for all webhooks after each call: of two targets that are told at the same
moment, one may be called failed (ReadError) although it got its message.

Addresses are secrets: only their host is ever shown. Addresses of private networks and of this machine are allowed
(Prefect's default for these blocks): receivers are often there.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit
from uuid import UUID

import httpx
from prefect.blocks.notifications import SlackWebhook
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError

from deployments.prefect_server import ALERT_BLOCKS as PREFIX
from tasks.errors import PipelineError

if TYPE_CHECKING:
    from prefect.client.schemas.objects import BlockDocument

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
SLACK = re.compile(r"https://hooks\.slack(-gov)?\.com/services/\w+/\w+/\w+/?")
SECONDS = 15.0  # for a test alert
HEADERS = {"Content-Type": "application/json", "User-Agent": "frames2firmware"}


class TargetRefused(PipelineError):
    """A target that cannot be: a bad name or address, or a name that is taken."""


class NoSuchTarget(PipelineError):
    """A target that was asked for and is not there."""


class NotDelivered(PipelineError):
    """A receiver that did not take a test alert."""


@dataclass(frozen=True)
class Target:
    """One receiver of alerts. `last`: what came of the newest alert that was sent there."""

    name: str
    kind: str
    host: str
    block: UUID
    last: str = ""


def targets() -> list[Target]:
    """All targets, by name."""
    return sorted(map(_target, _documents(include_secrets=True)), key=lambda target: target.name)


def find(name: str) -> Target:
    """The target of that name. Raises `NoSuchTarget`."""
    known = targets()
    for target in known:
        if target.name == name:
            return target
    there = ", ".join(target.name for target in known)
    raise NoSuchTarget(
        f"there is no alert target {name!r}; {f'there are {there}' if there else 'there is none'}",
        next_step="`f2f alerts list` shows them",
    )


def add_webhook(name: str, url: str) -> Target:
    """JSON to `url` by POST. Raises `TargetRefused`."""
    try:
        parts = httpx.URL(url)  # what sends to it must be able to read it
        ok = parts.scheme in ("http", "https") and bool(parts.host) and parts.port != 0 and (parts.port or 1) < 65536
    except httpx.InvalidURL:
        ok = False
    if not ok:
        raise TargetRefused(
            "the webhook's address is no http or https URL", next_step="f2f alerts add webhook https://…"
        )
    return _save(name, lambda: Webhook.model_validate({"url": url, "headers": HEADERS}))


def add_slack(name: str, url: str) -> Target:
    """A Slack channel's incoming webhook. Raises `TargetRefused`."""
    if not SLACK.fullmatch(url):
        raise TargetRefused(
            "that is no incoming webhook of Slack",
            next_step="it looks like https://hooks.slack.com/services/T…/B…/…; Slack shows it under Incoming Webhooks",
        )
    return _save(name, lambda: SlackWebhook.model_validate({"url": url}))


def add_email(name: str, *, smtp: str, mode: str, sender: str, to: list[str], user: str, password: str) -> Target:
    """Mail by SMTP. `smtp`: host or host:port; `mode`: starttls, ssl or insecure. Raises `TargetRefused`."""
    account = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user else ""
    options = {"from": sender, "to": ",".join(to), "mode": mode, "format": "text"}
    scheme = "mailto" if mode == "insecure" else "mailtos"
    url = f"{scheme}://{account}{smtp}?{urlencode(options)}"
    return _save(name, lambda: SlackWebhook.model_validate({"url": url}), receivers=len(to))


def remove(target: Target) -> None:
    """Deletes the target's block; automations must not name it any more."""
    with get_client(sync_client=True) as client:
        client.delete_block_document(target.block)


def send_test(target: Target, subject: str, text: str) -> str:
    """Sends through the target's block, from here; returns what the receiver answered. Raises `NotDelivered`.

    Alerts are sent by the Prefect server: where it is another machine, it has to reach the receiver as well.
    """
    with get_client(sync_client=True) as client:
        document = client.read_block_document(target.block, include_secrets=True)
    if target.kind == "webhook":
        return _post(target, document, {"alert": "test", "subject": subject, "text": text, "payload": {}})
    from prefect.blocks.abstract import NotificationError

    block = SlackWebhook.model_validate(document.data)
    try:
        with block.raise_on_failure():
            block.notify(subject=subject, body=text)
    except NotificationError as error:
        raise _not_delivered(target, error.log.strip().splitlines()[-1:] or ["no reason given"], document) from None
    return "accepted"


def with_last(target: Target) -> Target:
    """The target with what came of its newest alert, as the Prefect server knows it."""
    wanted = {
        "event": {"name": ["prefect.automation.action.executed", "prefect.automation.action.failed"]},
        "related": {"id": [f"prefect.block-document.{target.block}"]},
    }
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/events/filter", json={"filter": wanted, "limit": 1}).json()["events"]
    last = ""
    if found:
        payload, when = found[0]["payload"], found[0]["occurred"][:16].replace("T", " ")
        status = payload.get("status_code")
        outcome = f"answered {status}" if status else "sent" if found[0]["event"].endswith("executed") else "failed"
        last = f"{when} UTC {outcome}"
    return Target(target.name, target.kind, target.host, target.block, last)


def _post(target: Target, document: "BlockDocument", payload: dict[str, Any]) -> str:
    data = document.data
    try:
        answer = httpx.request(
            data["method"], data["url"], headers=data["headers"], json=payload, timeout=SECONDS, verify=data["verify"]
        )
    except httpx.HTTPError as error:
        raise _not_delivered(target, [f"{type(error).__name__}: {error}"], document) from None
    if answer.status_code >= 300:
        raise _not_delivered(target, [f"it answered {answer.status_code} {answer.reason_phrase}"], document)
    return f"answered {answer.status_code}"


def _not_delivered(target: Target, reasons: list[str], document: "BlockDocument") -> NotDelivered:
    reason = reasons[0].replace(document.data["url"], target.host)
    return NotDelivered(
        f"target {target.name} ({target.kind}, {target.host}) did not take the test alert: {reason}",
        next_step="correct the receiver, or remove the target and add it with another address",
    )


def _save(name: str, make: Callable[[], Webhook | SlackWebhook], receivers: int = 0) -> Target:
    if not NAME.fullmatch(name):
        raise TargetRefused(
            f"{name!r} is no name for a target", next_step="take lower-case letters, digits and dashes, e.g. --name ops"
        )
    if any(target.name == name for target in targets()):
        raise TargetRefused(
            f"there is an alert target {name} already",
            next_step=f"give this one another --name, or `f2f alerts remove {name}` first",
        )
    block = make()
    services: list[Any] = list(block._apprise_client) if isinstance(block, SlackWebhook) else []
    # Apprise leaves out an address that it cannot read, without a word.
    understood = sum(len(getattr(service, "targets", ())) for service in services)
    if (isinstance(block, SlackWebhook) and not services) or understood < receivers:
        raise TargetRefused(
            "Apprise makes nothing of these mail settings", next_step="check --smtp, --from and --to, one by one"
        )
    try:
        block.save(PREFIX + name)
    except PrefectHTTPStatusError as error:  # its text repeats the whole request, with the secret
        raise TargetRefused(
            f"the Prefect server refused the block of target {name} ({error.response.status_code})",
            next_step="`f2f status` shows where the server's log is",
        ) from None
    return find(name)


def _documents(*, include_secrets: bool) -> "list[BlockDocument]":
    from prefect.client.schemas.objects import BlockDocument

    wanted = {"name": {"like_": PREFIX}, "is_anonymous": {"eq_": False}}
    body = {"block_documents": wanted, "include_secrets": include_secrets}
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/block_documents/filter", json=body).json()
    documents = BlockDocument.model_validate_list(found)
    return [one for one in documents if (one.name or "").startswith(PREFIX)]


def _target(document: "BlockDocument") -> Target:
    url = urlsplit(str(document.data["url"]))
    slug = document.block_type.slug if document.block_type else ""
    kind = "webhook" if slug == "webhook" else "email" if url.scheme.startswith("mailto") else "slack"
    return Target((document.name or "").removeprefix(PREFIX), kind, url.hostname or "", document.id)
