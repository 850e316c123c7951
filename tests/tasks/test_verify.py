"""Verification of releases and channels against a real S3 server: every kind of change is refused by name.

Does not touch erasing (test_forget.py) or the command (tests/deployments).
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tasks import channels
from tasks.parameters import PromoteParameters
from tasks.promotion import promote, rollback
from tasks.record import digest_of
from tasks.release_records import Channel
from tasks.signing import KeyMissing, load_signing_key, make_keys, sign, trusted_keys_file
from tasks.store import Store, StoredObject
from tasks.verify import MemoryDamaged, NothingToVerify, Verification, verify_channel, verify_release
from tests.tasks.published import held, published, stored_candidate


@pytest.fixture
def two(store: Store) -> Store:
    """A bucket with two releases, the second in the channel."""
    published(store, "one")
    published(store, "two")
    return store


def kinds(found: Verification) -> set[str]:
    return {finding.kind for finding in found.findings}


def test_what_was_published_verifies_and_all_of_it_was_read(two: Store) -> None:
    found = verify_channel(two, "stable")
    assert found.passed, found.findings
    assert (found.release, found.revision) == (2, 2)
    assert found.artefacts >= 20
    assert found.bytes == sum(artefact["size"] for artefact in _release(two, 2)["artefacts"].values())
    assert verify_release(two, 1).passed


def test_a_changed_byte_in_any_object_is_refused_by_its_name(two: Store) -> None:
    for name, artefact in _release(two, 2)["artefacts"].items():
        before = two.get(artefact["key"])
        two.put(artefact["key"], before[:-1] + bytes([before[-1] ^ 1]))
        found = verify_release(two, 2)
        assert {(f.kind, f.object) for f in found.findings} == {("bytes", artefact["key"])}, name
        assert any(name in f.message for f in found.findings) or artefact["key"].startswith("blobs/")
        two.put(artefact["key"], before)
    assert verify_release(two, 2).passed


def test_the_local_cache_is_not_believed(two: Store) -> None:
    key = _release(two, 2)["artefacts"]["model_int8.tflite"]["key"]
    two.get_blob(key.removeprefix("blobs/"))  # now it is cached
    two.put(key, b"another model")
    assert kinds(verify_release(two, 2)) == {"bytes"}


def test_a_missing_object_is_refused_by_its_name(two: Store) -> None:
    key = _release(two, 2)["artefacts"]["firmware/mps2-an386/firmware.elf"]["key"]
    two.delete(key)
    found = verify_release(two, 2)
    assert [(f.kind, f.object) for f in found.findings] == [("missing", key)]


def test_a_changed_manifest_is_refused(two: Store) -> None:
    for change in ({"accuracy": 1.0}, {"boards": []}, {"number": 1}, {"signature": None}):
        before = two.get("releases/2.json")
        two.put("releases/2.json", json.dumps({**json.loads(before), **change}).encode())
        assert kinds(verify_channel(two, "stable")) == {"signature"}
        two.put("releases/2.json", before)
    assert verify_channel(two, "stable").passed


def test_a_release_under_another_number_is_refused(two: Store) -> None:
    two.put("releases/2.json", two.get("releases/1.json"))
    assert kinds(verify_channel(two, "stable")) == {"signature"}
    assert "holds release 1" in verify_release(two, 2).findings[0].message


def test_somebody_else_s_signature_is_refused(two: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = two.where.model_copy(update={"data_dir": tmp_path_factory.mktemp("elsewhere")})
    make_keys(elsewhere)
    forged = held(two).model_copy(update={"reason": "mine now"})
    forged = Channel.model_validate({**forged.model_dump(exclude={"digest"}), "signature": None})
    forged = forged.model_copy(update={"signature": sign(forged, load_signing_key(elsewhere))})
    two.put(forged.key, forged.model_dump_json().encode())
    found = verify_channel(two, "stable")
    assert kinds(found) == {"signature"}
    assert "not trusted here" in found.findings[0].message


def test_a_lower_channel_revision_is_refused_by_what_was_published(two: Store) -> None:
    two.put("channels/stable.json", two.get("channels/stable/000001.json"))
    found = verify_channel(two, "stable")
    assert kinds(found) == {"revision"}
    assert "is at revision 1, and revision 2 was published" in found.findings[0].message


def test_a_lower_channel_revision_is_refused_by_what_was_seen_here(two: Store) -> None:
    assert verify_channel(two, "stable").passed
    two.put("channels/stable.json", two.get("channels/stable/000001.json"))
    two.delete("channels/stable/000002.json")  # whoever put it back tidied up
    found = verify_channel(two, "stable")
    assert kinds(found) == {"revision"}
    assert "revision 2 was seen here" in found.findings[0].message


def test_another_revision_of_the_same_number_is_refused(two: Store) -> None:
    assert verify_channel(two, "stable").passed
    other = Channel.model_validate({**held(two).model_dump(exclude={"digest"}), "reason": "other", "signature": None})
    other = other.model_copy(update={"signature": sign(other, load_signing_key(two.where))})
    two.put(other.key, other.model_dump_json().encode())
    assert "another one than was seen" in verify_channel(two, "stable").findings[0].message


def test_another_channel_put_in_its_place_is_refused(two: Store) -> None:
    """Both are signed; that `beta` holds a release does not mean that every device may have it."""
    promote(two, stored_candidate(two, "three"), PromoteParameters(dry_run=False, channel="beta"))
    two.put("channels/stable.json", two.get("channels/beta.json"))
    found = verify_channel(two, "stable")
    assert [(f.kind, f.object) for f in found.findings] == [("signature", "channels/stable.json")]
    assert "holds channel beta" in found.findings[0].message


@pytest.mark.parametrize("written", [b"", b"no JSON", b"[]", b'{"release": 2}'])
def test_a_channel_that_cannot_be_read_is_refused(two: Store, written: bytes) -> None:
    two.put("channels/stable.json", written)
    found = verify_channel(two, "stable")
    assert kinds(found) == {"signature"}
    assert (found.release, found.channel) == (None, "stable")


def test_a_changed_byte_of_a_channel_is_refused(two: Store) -> None:
    plain = json.loads(two.get("channels/stable.json"))
    for change in ({"release": 1}, {"reason": "mine now"}, {"revision": 7}, {"digest": ""}):
        two.put("channels/stable.json", json.dumps({**plain, **change}).encode())
        assert "signature" in kinds(verify_channel(two, "stable")), change


def test_a_channel_that_moves_while_it_is_verified_was_not_put_back(two: Store) -> None:
    class Moving(Store):
        """A bucket in which somebody rolls back right after the channel was read."""

        moved = False

        def get_object(self, key: str) -> StoredObject:
            found = super().get_object(key)
            if key == "channels/stable.json" and not self.moved:
                self.moved = True
                rollback(two, 1, "ghosts in the hall")
            return found

    found = verify_channel(Moving(two.where), "stable")
    assert found.passed, found.findings
    assert held(two).revision == 3


def test_something_else_beside_the_revisions_is_no_revision(two: Store) -> None:
    two.put("channels/stable/README", b"do not touch")
    assert verify_channel(two, "stable").passed


def test_a_damaged_memory_of_what_was_seen_is_said(two: Store) -> None:
    assert verify_channel(two, "stable").passed
    (seen,) = (two.where.data_dir / "seen").iterdir()
    seen.write_text("half a fi")
    with pytest.raises(MemoryDamaged, match=seen.name):
        verify_channel(two, "stable")


def test_a_rollback_verifies_as_a_higher_revision(two: Store) -> None:
    assert verify_channel(two, "stable").passed
    rollback(two, 1, "ghosts in the hall")
    found = verify_channel(two, "stable")
    assert found.passed, found.findings
    assert (found.release, found.revision) == (1, 3)


def test_a_channel_that_names_another_release_than_is_there_is_refused(two: Store) -> None:
    wrong = Channel.model_validate(
        {**held(two).model_dump(exclude={"digest"}), "release_digest": digest_of("x"), "revision": 3, "signature": None}
    )
    wrong = wrong.model_copy(update={"signature": sign(wrong, load_signing_key(two.where))})
    two.put(wrong.key, wrong.model_dump_json().encode())
    assert kinds(verify_channel(two, "stable")) == {"lineage"}


def _swap_records(release: dict[str, Any], other: dict[str, Any], name: str) -> None:
    release["artefacts"][name] = other["artefacts"][name]


BROKEN: dict[str, tuple[Callable[..., None], str]] = {
    "another report": (lambda r, o: _swap_records(r, o, "records/report.json"), "the report record is not"),
    "another model": (lambda r, o: _swap_records(r, o, "records/int8.json"), "the int8 record is not"),
    "no verdict": (lambda r, o: r["artefacts"].pop("records/verdict.json"), "no record of its verdict"),
    "a file that is not listed": (
        lambda r, o: r["artefacts"].pop("firmware/mps2-an386/firmware.elf"),
        "not listed",
    ),
    "another candidate": (lambda r, o: r.update(candidate=o["candidate"]), "the candidate record is not"),
    "another image": (
        lambda r, o: _swap_records(r, o, "records/firmware-mps2-an386.json"),
        "its images are not those",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_chain_is_refused_also_where_it_is_signed(two: Store, what: str) -> None:
    """Whoever signs by mistake, or a faulty program with the key: the chain from frames to image is checked itself."""
    from tasks.release_records import Release

    change, message = BROKEN[what]
    plain, other = _release(two, 2), _release(two, 1)
    change(plain, other)
    made = Release.model_validate({**plain, "digest": "", "signature": None})
    made = made.model_copy(update={"signature": sign(made, load_signing_key(two.where))})
    two.put(made.key, made.model_dump_json().encode())
    found = verify_release(two, 2)
    assert kinds(found) == {"lineage"}
    assert any(message in finding.message for finding in found.findings), found.findings


def test_records_of_an_older_version_still_verify(two: Store) -> None:
    """A parameter that is added later has its default in old records; what was signed is what was written."""
    from tasks.release_records import Release

    plain = _release(two, 2)
    plain["comparison"]["parameters"].pop("seed")
    plain["comparison"]["digest"] = ""
    identity = {name: plain[name] for name in Release.IDENTITY}
    plain["comparison"]["digest"] = _comparison_digest(plain["comparison"])
    plain["digest"] = Release.digest_for(**identity)
    plain["signature"] = None
    plain["signature"] = _signed_as_written(two, plain)
    two.put("releases/2.json", json.dumps(plain).encode())
    assert verify_release(two, 2).passed, verify_release(two, 2).findings


def test_nothing_to_verify_and_missing_keys_are_said(store: Store, two: Store) -> None:
    with pytest.raises(NothingToVerify, match="there is no release 9"):
        verify_release(two, 9)
    with pytest.raises(NothingToVerify, match="beta holds nothing"):
        verify_channel(two, "beta")
    trusted_keys_file(two.where).unlink()
    with pytest.raises(KeyMissing):
        verify_channel(two, "stable")


def test_the_history_of_a_channel_is_complete_where_a_mover_died_before_its_copy(two: Store) -> None:
    two.delete("channels/stable/000002.json")
    rollback(two, 1, "ghosts in the hall")
    assert [revision.revision for revision in channels.history(two, "stable")] == [1, 2, 3]


def _release(store: Store, number: int) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(store.get(f"releases/{number}.json"))
    return plain


def _comparison_digest(plain: dict[str, Any]) -> str:
    from tasks.release_records import Comparison

    return Comparison.digest_for(**{name: plain[name] for name in Comparison.IDENTITY})


def _signed_as_written(store: Store, plain: dict[str, Any]) -> dict[str, str]:
    import base64

    from tasks.signing import key_id, signed_bytes

    key = load_signing_key(store.where)
    value = base64.b64encode(key.sign(signed_bytes("Release", plain))).decode()
    return {"algorithm": "ed25519", "key": key_id(key.public_key()), "value": value}
