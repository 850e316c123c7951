"""Ed25519 signatures of releases and channel revisions: who signs, and whose signatures count.

The private key is a secret: from the variable F2F_SIGNING_KEY (PEM text) or a file. Whose signatures count is decided
on the machine that checks (a file of public keys), never by anything in the bucket: whoever can write there could
replace a manifest together with the key beside it.
"""

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict

from tasks.errors import PipelineError
from tasks.record import canonical_json
from tasks.settings import Settings

VARIABLE = "F2F_SIGNING_KEY"
_BEGIN, _END = b"-----BEGIN PUBLIC KEY-----", b"-----END PUBLIC KEY-----"


class KeyMissing(PipelineError):
    """No key to sign with, or none to check signatures with."""


class KeyUnusable(PipelineError):
    """A key file that holds no Ed25519 key."""


class SignatureRefused(PipelineError):
    """No signature, one of an unknown key, or one that does not match."""


class Signature(BaseModel):
    """`key` is the id of the public key (`key_id`), `value` the 64 bytes in base64."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    algorithm: Literal["ed25519"] = "ed25519"
    key: str
    value: str


def signing_key_file(where: Settings) -> Path:
    """The private key's file: the one that is set, else the one that `f2f up` makes."""
    return where.signing_key_file or where.data_dir / "keys" / "signing.pem"


def trusted_keys_file(where: Settings) -> Path:
    """The file of public keys whose signatures count: the one that is set, else the one that `f2f up` makes."""
    return where.trusted_keys_file or where.data_dir / "keys" / "trusted.pem"


def load_signing_key(where: Settings) -> Ed25519PrivateKey:
    """The key of this machine. Raises `KeyMissing`, `KeyUnusable`."""
    text, source = os.environ.get(VARIABLE, "").encode(), VARIABLE
    if not text:
        path = signing_key_file(where)
        source = str(path)
        try:
            text = path.read_bytes()
        except OSError as error:
            raise KeyMissing(
                f"no key to sign releases with: {source}: {error.strerror}",
                next_step=f"`f2f up` makes one for local use; or set {VARIABLE} (PEM) or F2F_SIGNING_KEY_FILE",
            ) from error
    try:
        key = serialization.load_pem_private_key(text.replace(b"\\n", b"\n"), password=None)
    except (ValueError, TypeError) as error:
        raise _unusable(source, "private") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _unusable(source, "private")
    return key


def load_trusted_keys(where: Settings) -> dict[str, Ed25519PublicKey]:
    """The public keys whose signatures count, by id. Raises `KeyMissing`, `KeyUnusable`."""
    path = trusted_keys_file(where)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise KeyMissing(
            f"no public keys to check signatures with: {path}: {error.strerror}",
            next_step="copy trusted.pem from the machine that signs, or set F2F_TRUSTED_KEYS_FILE (PEM)",
        ) from error
    found = {}
    for part in data.split(_BEGIN)[1:]:
        try:
            key = serialization.load_pem_public_key(_BEGIN + part.split(_END)[0] + _END + b"\n")
        except (ValueError, TypeError) as error:
            raise _unusable(str(path), "public") from error
        if not isinstance(key, Ed25519PublicKey):
            raise _unusable(str(path), "public")
        found[key_id(key)] = key
    if not found:
        raise _unusable(str(path), "public")
    return found


def make_keys(where: Settings) -> bool:
    """A new key pair for local use, where there is none yet; returns whether one was made.

    Only in the default places: a key that somebody named is theirs to make. The private file is readable by its owner
    only; the public key is appended to the trusted ones.
    """
    if os.environ.get(VARIABLE) or where.signing_key_file or signing_key_file(where).exists():
        return False
    path, trusted = signing_key_file(where), trusted_keys_file(where)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(private)
    trusted.parent.mkdir(parents=True, exist_ok=True)
    with trusted.open("ab") as file:  # before the private key is there: a signature is never one that nobody trusts
        file.write(public_pem(key.public_key()))
    part.replace(path)
    return True


def public_pem(key: Ed25519PublicKey) -> bytes:
    """A public key as the PEM block that a file of trusted keys holds."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_id(key: Ed25519PublicKey) -> str:
    """The first 16 hex digits of the SHA-256 of the raw public key (32 bytes)."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


def signed_bytes(kind: str, plain: Mapping[str, object]) -> bytes:
    """What is signed: the kind of record, and its fields but the signature as canonical JSON.

    The kind is part of it: a signed channel can never be read as a signed release.
    """
    return f"{kind}\n{canonical_json({name: v for name, v in plain.items() if name != 'signature'})}".encode()


def sign(record: BaseModel, key: Ed25519PrivateKey) -> Signature:
    """The signature of `record`."""
    signed = key.sign(signed_bytes(type(record).__name__, record.model_dump(mode="json")))
    return Signature(key=key_id(key.public_key()), value=base64.b64encode(signed).decode())


def check(written: bytes, kind: type[BaseModel], trusted: Mapping[str, Ed25519PublicKey], *, what: str) -> None:
    """Raises `SignatureRefused` unless `written`, a record's JSON, carries its signature by a trusted key.

    The JSON as it was written counts, not what a later version of the record makes of it. `what` names it in errors.
    """
    advice = "do not flash it; ask whoever publishes releases, and look at who can write to the bucket"
    try:
        plain = json.loads(written)
        signature = Signature.model_validate(plain["signature"])
    except (ValueError, KeyError, TypeError) as error:
        raise SignatureRefused(f"{what} is not signed", next_step=advice) from error
    key = trusted.get(signature.key)
    if key is None:
        raise SignatureRefused(
            f"{what} is signed by key {signature.key}, which is not trusted here (trusted: {', '.join(trusted)})",
            next_step="if that key is yours, add its public key to the file of trusted keys",
        )
    try:
        key.verify(base64.b64decode(signature.value, validate=True), signed_bytes(kind.__name__, plain))
    except (InvalidSignature, ValueError) as error:
        raise SignatureRefused(
            f"{what} is not what key {signature.key} signed: it was changed afterwards", next_step=advice
        ) from error


def _unusable(source: str, kind: str) -> KeyUnusable:
    return KeyUnusable(
        f"{source} holds no {kind} Ed25519 key",
        next_step="make one: openssl genpkey -algorithm ed25519 (private), openssl pkey -pubout (public)",
    )
