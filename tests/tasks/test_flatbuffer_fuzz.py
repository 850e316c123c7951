"""Seeded damage to models, and well-formed nonsense: the audit answers or refuses, no other exception escapes.

Not covered: that the answers are right (test_audit.py).
"""

import random
import struct
from pathlib import Path

from tasks.flatbuffer import NotAModel, audit
from tests.tasks.hand_built_models import OPERATORS, Op, T, build, clean_conv, const, one_operator, options
from tests.tasks.test_flatbuffer import chain, verdict


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few bytes or words changed, or the file cut."""
    copy = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        position = rng.randrange(len(copy))
        match rng.randrange(5):
            case 0:
                copy[position] = rng.randrange(256)
            case 1:
                copy[position] ^= 1 << rng.randrange(8)
            case 2:
                word = rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, rng.getrandbits(32), len(data)))
                copy[position & ~3 : (position & ~3) + 4] = struct.pack("<I", word)
            case 3:
                copy[position : position + 8] = bytes(8)
            case 4 if rng.random() < 0.2:
                del copy[position:]
                if not copy:
                    return b""
    return bytes(copy)


def fuzz(seeds: dict[str, bytes], rounds: int) -> dict[str, int]:
    """Outcomes of `rounds` mutations of every seed; anything but an Audit or NotAModel escapes as it is."""
    outcomes = {"audit": 0, "refused": 0}
    for name, data in seeds.items():
        rng = random.Random(name)
        for _ in range(rounds):
            outcome = verdict(mutated(data, rng))
            outcomes["refused" if outcome is None else "audit"] += 1
            assert outcome is None or outcome.clean == (not outcome.offenders)
    return outcomes


def test_thousands_of_damaged_models_are_audited_or_refused_and_never_crash() -> None:
    dynamic = T((1, 4, 4, 2), signature=(-1, -1, 4, 2))
    seeds = {"chain": chain(), "conv": clean_conv(), "dynamic": clean_conv(x=dynamic, b=const(1, 2, 3))}
    outcomes = fuzz(seeds, 1000)
    assert min(outcomes.values()) > 300, outcomes  # both sides are exercised


def test_damage_to_any_single_operator_never_crashes() -> None:
    """Rules that look at an operator's tensors meet every count, type and scale that bytes can make of them."""
    outcomes = fuzz({f"{op}.{t}": one_operator(op, t) for op in OPERATORS for t in ("int8", "int16")}, 25)
    assert min(outcomes.values()) > 300, outcomes


def test_an_operator_that_writes_what_it_reads_is_audited() -> None:
    """Found by mutation: the only other tensor of the operator was its own output."""
    op = Op("ADD", (0, 0), (0,), options("AddOptions"))
    assert audit(build([T((1, 4))], [op], (0,), (0,))).ops == {"ADD": 1}


def test_damaged_real_models_are_audited_or_refused_and_never_crash(shared: Path) -> None:
    small = {p.name: p.read_bytes() for p in (shared / "fixtures/tflite").glob("*.tflite") if p.stat().st_size < 10_000}
    outcomes = fuzz(small, 500)
    assert min(outcomes.values()) > 100, outcomes


def test_random_bytes_behind_a_good_identifier_never_crash() -> None:
    rng = random.Random(0)
    for _ in range(500):
        assert verdict(struct.pack("<I", rng.randrange(64)) + b"TFL3" + rng.randbytes(rng.randrange(24, 400))) is None


def nonsense(rng: random.Random) -> bytes:
    """A well-formed file whose operators, types, shapes, scales and connections make no sense together."""
    types = ("int8", "int8", "int8", "uint8", "int16", "int32", "float32", "bool", "int64", "float16")
    scales = (0.05, 0.05, None, 0.0, float("nan"), [0.1, 0.2], [], 1e-9, 1e9)
    tensors = []
    for _ in range(rng.randrange(1, 7)):
        shape = [rng.choice((0, 1, 2, 4)) for _ in range(rng.randrange(5))]
        points = rng.choice((0, 0, -128, 300, [0, 0], []))
        data = rng.choice((None, None, 1))
        signature = rng.choice((None, [-1] * len(shape)))
        dimension = rng.choice((0, 0, 3, -1, 99))
        tensors.append(T(shape, rng.choice(types), rng.choice(scales), points, data, "", dimension, signature))
    ops = []
    for _ in range(rng.randrange(4)):
        inputs = [rng.randrange(-1, len(tensors)) for _ in range(rng.randrange(5))]
        outputs = [rng.randrange(len(tensors)) for _ in range(rng.randrange(3))]
        ops.append(Op(rng.choice(list(OPERATORS)), inputs, outputs))
    ends = [[rng.randrange(len(tensors)) for _ in range(rng.randrange(3))] for _ in range(2)]
    return build(tensors, ops, *ends)


def test_well_formed_nonsense_is_audited_on_both_revisions() -> None:
    rng = random.Random(7)
    for _ in range(400):
        data = nonsense(rng)
        for tflm in ("upstream", "registry"):
            try:
                result = audit(data, tflm=tflm)
            except NotAModel:
                continue
            assert result.clean == (not result.offenders)
            assert all(o.cause and o.fix for o in result.offenders)
