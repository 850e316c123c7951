"""The base of all records: frozen, and named by a digest of what it was made from."""

import hashlib
import json
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, model_validator
from pydantic_core import to_jsonable_python

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def digest_of(value: object) -> str:
    """SHA-256 (hex) of `value` as canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def canonical_json(value: object) -> str:
    """`value` (records and times in it as pydantic writes them) as JSON: sorted keys, no spaces, UTF-8."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=lambda v: to_jsonable_python(v)
    )


class Record(BaseModel):
    """Base of all records. `digest` is filled in on creation and checked on load: a changed identity is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    IDENTITY: ClassVar[tuple[str, ...]] = ()
    digest: str = ""

    @model_validator(mode="wrap")
    @classmethod
    def _digest_matches_identity(cls, data: Any, check: ModelWrapValidatorHandler[Self]) -> Self:
        record = check(data)
        identity = {name: getattr(record, name) for name in cls.IDENTITY}
        expected = cls.digest_for(**identity)
        if record.digest and record.digest != expected and isinstance(data, dict):
            # By what was written, not by what it means now: a parameter that came later has its default in old records.
            expected = cls.digest_for(**{name: data.get(name, value) for name, value in identity.items()})
            if record.digest != expected:
                raise ValueError(
                    f"{cls.__name__} says digest {record.digest[:12]} but its fields give {expected[:12]}: "
                    "the record was changed after it was written"
                )
        object.__setattr__(record, "digest", expected)
        return record

    @classmethod
    def digest_for(cls, **identity: object) -> str:
        """The digest that a record with these identity fields has, without making one."""
        missing = set(cls.IDENTITY) ^ set(identity)
        if missing:
            raise TypeError(f"{cls.__name__}.digest_for takes exactly {cls.IDENTITY}, differs in {sorted(missing)}")
        return digest_of({"record": cls.__name__, **identity})
