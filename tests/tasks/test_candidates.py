"""The candidate of a finished run: its digest, and when it counts as passed.

What is stored where is tested in tests/flows/test_retrain.py.
"""

from tasks.lineage import Candidate, digest_of

IDENTITY = {"dataset": "a", "validation": "b", "model": "c", "int8": "d", "report": None, "verdict": "e"}


def test_a_candidate_without_firmware_keeps_the_digest_that_it_had_before_there_was_any() -> None:
    before = digest_of({"record": "Candidate", **IDENTITY})
    assert Candidate.digest_for(**IDENTITY, firmware=()) == before


def test_other_images_make_another_candidate() -> None:
    digests = {Candidate.digest_for(**IDENTITY, firmware=images) for images in ((), ("x",), ("x", "y"), ("y", "x"))}
    assert len(digests) == 4
