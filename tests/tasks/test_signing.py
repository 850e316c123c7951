"""Keys and signatures of releases. Does not touch a bucket."""

import json
import stat
from datetime import UTC, datetime

import pytest

from tasks.record import digest_of
from tasks.release_records import Channel, Release
from tasks.settings import Settings
from tasks.signing import (
    VARIABLE,
    KeyMissing,
    KeyUnusable,
    SignatureRefused,
    check,
    load_signing_key,
    load_trusted_keys,
    make_keys,
    sign,
    signing_key_file,
    trusted_keys_file,
)


@pytest.fixture
def keys(where: Settings) -> Settings:
    assert make_keys(where)
    return where


def channel(**changes: object) -> Channel:
    plain = {
        "name": "stable", "revision": 3, "release": 2, "release_digest": digest_of("r"), "kind": "promotion",
        "reason": "better", "highest": 2, "previous": None, "moved_at": datetime(2026, 3, 1, tzinfo=UTC),
    }  # fmt: skip
    return Channel.model_validate(plain | changes)


def signed(where: Settings, record: Channel) -> bytes:
    key = load_signing_key(where)
    return record.model_copy(update={"signature": sign(record, key)}).model_dump_json(indent=1).encode()


def test_what_was_signed_here_is_accepted_here(keys: Settings) -> None:
    check(signed(keys, channel()), Channel, load_trusted_keys(keys), what="it")


def test_every_changed_field_is_refused(keys: Settings) -> None:
    written = json.loads(signed(keys, channel()))
    for name in set(written) - {"signature"}:
        changed = {**written, name: "other" if isinstance(written[name], str) else 7}
        with pytest.raises(SignatureRefused, match="changed afterwards"):
            check(json.dumps(changed).encode(), Channel, load_trusted_keys(keys), what="it")
    with pytest.raises(SignatureRefused, match="changed afterwards"):
        check(json.dumps({**written, "extra": 1}).encode(), Channel, load_trusted_keys(keys), what="it")


def test_a_channel_cannot_pass_for_a_release(keys: Settings) -> None:
    with pytest.raises(SignatureRefused, match="changed afterwards"):
        check(signed(keys, channel()), Release, load_trusted_keys(keys), what="it")


@pytest.mark.parametrize("written", [b"", b"{", b"[]", b"{}", b'{"signature": null}', b'{"signature": {"key": "1"}}'])
def test_what_carries_no_signature_is_refused(keys: Settings, written: bytes) -> None:
    with pytest.raises(SignatureRefused, match="not signed"):
        check(written, Channel, load_trusted_keys(keys), what="it")


def test_a_key_that_is_not_trusted_here_is_refused_by_its_id(
    keys: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = keys.model_copy(update={"data_dir": tmp_path_factory.mktemp("elsewhere")})
    make_keys(elsewhere)
    written = signed(elsewhere, channel())
    key = next(iter(load_trusted_keys(elsewhere)))
    with pytest.raises(SignatureRefused, match=f"signed by key {key}, which is not trusted here"):
        check(written, Channel, load_trusted_keys(keys), what="it")
    # A second key in the file is trusted as well: keys can be changed without a day on which nothing verifies.
    with trusted_keys_file(keys).open("ab") as file:
        file.write(trusted_keys_file(elsewhere).read_bytes())
    check(written, Channel, load_trusted_keys(keys), what="it")


def test_the_private_key_is_made_once_and_only_its_owner_can_read_it(keys: Settings) -> None:
    before = signing_key_file(keys).read_bytes()
    assert stat.S_IMODE(signing_key_file(keys).stat().st_mode) == 0o600
    assert not make_keys(keys)
    assert signing_key_file(keys).read_bytes() == before


def test_a_key_from_the_environment_goes_before_the_file(
    keys: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = keys.model_copy(update={"data_dir": tmp_path_factory.mktemp("elsewhere")})
    make_keys(elsewhere)
    text = signing_key_file(elsewhere).read_text()
    for form in (text, text.replace("\n", "\\n")):  # as .env files hold it in one line
        monkeypatch.setenv(VARIABLE, form)
        check(signed(keys, channel()), Channel, load_trusted_keys(elsewhere), what="it")


def test_missing_and_unusable_keys_are_named(where: Settings) -> None:
    with pytest.raises(KeyMissing, match=r"signing\.pem"):
        load_signing_key(where)
    with pytest.raises(KeyMissing, match=r"trusted\.pem"):
        load_trusted_keys(where)
    for path, load in ((signing_key_file(where), load_signing_key), (trusted_keys_file(where), load_trusted_keys)):
        path.parent.mkdir(parents=True, exist_ok=True)
        for rubbish in (b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", b"\x00\xff"):
            path.write_bytes(rubbish)
            with pytest.raises(KeyUnusable, match="Ed25519"):
                load(where)
