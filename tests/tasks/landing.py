"""Small frames put into the inbox of a test's bucket, as the uploader and the devices do it."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tasks.store import Store

DAY = "2026-11-20"


def pixels(seed: int) -> NDArray[np.uint8]:
    """A frame that no other seed gives: uint8 (120, 160), well lit."""
    return np.random.default_rng(seed).integers(20, 236, (120, 160), np.uint8)


def raw(seed: int) -> bytes:
    """The same as a raw gray8 file: quick to make, quick to decode."""
    return pixels(seed).tobytes()


def png(seed: int) -> bytes:
    """The same pixels in another file."""
    sink = io.BytesIO()
    Image.fromarray(pixels(seed)).save(sink, "PNG")
    return sink.getvalue()


def put(
    store: Store,
    seed: int,
    label: str | None = "person",
    *,
    device: str = "cam",
    session: str = "s0",
    day: str = DAY,
    data: bytes | None = None,
    name: str = "",
    **metadata: str,
) -> str:
    """Puts one frame; returns its key."""
    key = f"frames/{day}/{device}/{session}/{name or f'{seed:06}.raw'}"
    labels = {"label": label} if label else {}
    store.put(
        key,
        raw(seed) if data is None else data,
        metadata=labels | {k.replace("_", "-"): v for k, v in metadata.items()},
    )
    return key


def put_many(store: Store, seeds: range, *, per_session: int = 4, day: str = DAY, device: str = "cam") -> list[str]:
    """Frames of both classes in sessions of `per_session` frames of one class each."""

    def one(seed: int) -> str:
        session = seed // per_session
        label = "person" if session % 2 else "no_person"
        return put(store, seed, label, session=f"s{session}", day=day, device=device)

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(one, seeds))
