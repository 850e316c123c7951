"""What an event is: a name, what it happened to, and a payload. Prefect's words without Prefect, which takes seconds to
import."""

from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict

OURS = "frames2firmware"  # names and resource ids begin with it


class Event(BaseModel):
    """Something that happened to `resource`. With a `subject` it is told once for it, whatever is run again."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    resource: dict[str, str]
    related: list[dict[str, str]]
    payload: dict[str, Any]  # goes through JSON
    subject: str | None = None
    id: UUID | None = None  # given by the sender, so that a server knows it again; None: a new one for each sending

    @property
    def kind(self) -> str:
        """The name without the project's, in one word: `quantization-degraded`."""
        return self.name.removeprefix(f"{OURS}.").replace(".", "-")


def resource(kind: str, name: str, title: str) -> dict[str, str]:
    """What an event is about. `name` "": there is one of its kind."""
    return {"prefect.resource.id": _id(kind, name), "prefect.resource.name": title}


def related(kind: str, name: str, role: str = "") -> dict[str, str]:
    """What else an event touches."""
    return {"prefect.resource.id": _id(kind, name), "prefect.resource.role": role or kind}


def _id(kind: str, name: str) -> str:
    """`frames2firmware.<kind>.<name>`; a digest by its first 16 digits."""
    short = name[:16] if len(name) == 64 else name
    return f"{OURS}.{kind}.{short}" if name else f"{OURS}.{kind}"
