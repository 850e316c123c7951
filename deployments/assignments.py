"""`NAME=VALUE` from the command line into a flow's parameter model, with the names that a typo may have meant."""

import difflib
import json
from collections.abc import Collection, Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from tasks.errors import PipelineError

M = TypeVar("M", bound=BaseModel)


class BadParameter(PipelineError):
    """A parameter that does not exist, or a value outside its bounds."""


def fields(kind: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    """Full dotted name -> field, of every parameter in `kind`."""
    found: dict[str, FieldInfo] = {}
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found |= fields(inner, f"{prefix}{name}.")
        else:
            found[prefix + name] = field
    return found


def parse(kind: type[M], assignments: Iterable[str], defaults: dict[str, Any] | None = None) -> M:
    """`["alpha=0.35", "limits.min_accuracy=0.8"]` as a checked `kind`. Short names are fine where only one fits.

    `defaults`: full dotted name -> value, applied before. Raises `BadParameter`.
    """
    known = fields(kind)
    values: dict[str, Any] = dict(defaults or {})
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise BadParameter(
                f"{assignment!r} is not NAME=VALUE", next_step="for example: f2f retrain alpha=0.35 head_epochs=3"
            )
        full = _full_name(name.strip(), known)
        values[full] = _value(text.strip(), known[full])
    tree: dict[str, Any] = {}
    for full, value in values.items():
        *groups, leaf = full.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = value
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, e['loc']))}={e['input']!r}: {e['msg']}" for e in error.errors()]
        raise BadParameter(
            "; ".join(wrong), next_step="`--parameters` lists every parameter with its bounds"
        ) from error


def _full_name(name: str, known: Collection[str]) -> str:
    if name in known:
        return name
    fitting = [full for full in known if full.rsplit(".", 1)[-1] == name]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise BadParameter(f"{name!r} is ambiguous: {', '.join(fitting)}", next_step="give the full name")
    shorts = {full.rsplit(".", 1)[-1]: full for full in known}
    near = difflib.get_close_matches(name, known if "." in name else shorts, n=3, cutoff=0.5)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    raise BadParameter(f"no parameter {name!r}", next_step=f"{meant}`--parameters` lists them all")


def _value(text: str, field: FieldInfo) -> Any:
    if field.annotation is str and not text.startswith('"'):
        return text  # a digest like 2881e67543 is no number
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def described(kind: type[BaseModel]) -> str:
    """Every parameter with default, bounds and description, one a line."""
    lines: list[str] = []
    _describe(kind(), "", lines)
    return "\n".join(lines)


def _describe(model: BaseModel, prefix: str, lines: list[str]) -> None:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            _describe(value, f"{prefix}{name}.", lines)
            continue
        bounds = ", ".join(
            f"{sign} {getattr(m, attribute)}"
            for m in field.metadata
            for attribute, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
            if getattr(m, attribute, None) is not None
        )
        shown = json.dumps(value) if not isinstance(value, str) else value
        lines.append(f"{prefix}{name}={shown}{f'  ({bounds})' if bounds else ''}\n    {field.description or ''}")
