"""Frames inside files: taken out of packed shards, of golden frames, and of report pages. Pure.

Each function returns the file without the wanted frames, or the file itself where it shows none of them.
"""

import hashlib
import io
import re
from collections.abc import Collection

import numpy as np
from markupsafe import escape  # what Jinja escapes with

# A picture as report.html.j2 writes it. Pages of before there was a `data-frame` name the frame by its key alone.
_PICTURE = re.compile(
    r'<figure(?: data-frame="(?P<pixels>[0-9a-f]{64})")?>\s*'
    r'<img src="data:image/[^"]*" alt="Frame (?P<key>[^"]*)"[^>]*>'
)
_ERASED = '<p class="muted small">Picture erased</p>'


def without_rows(data: bytes, wanted: Collection[str]) -> tuple[bytes, tuple[int, ...]]:
    """A .npy of frames, uint8 (n, height, width), with zeros for those whose SHA-256 is wanted, and their rows.

    Header and length stay. Raises `ValueError` for bytes that are no such file.
    """
    start, shape = _layout(data)
    size = shape[1] * shape[2]
    rows = []
    for row in range(shape[0]):
        at = start + row * size
        if hashlib.sha256(memoryview(data)[at : at + size]).hexdigest() in wanted:
            rows.append(row)
    if not rows:
        return data, ()
    rest = bytearray(data)
    for row in rows:
        rest[start + row * size : start + (row + 1) * size] = bytes(size)
    return bytes(rest), tuple(rows)


def without_pictures(page: bytes, wanted: Collection[str], keys: Collection[str]) -> bytes:
    """A report page without the pictures of frames whose pixels_sha256 or whose object's key is wanted.

    What is written below a picture (scores, device, session) stays.
    """
    escaped = {str(escape(key)) for key in keys}

    def cut(picture: re.Match[str]) -> str:
        pixels = picture["pixels"]
        if pixels not in wanted and picture["key"] not in escaped:
            return picture[0]
        return (f'<figure data-frame="{pixels}">' if pixels else "<figure>") + _ERASED

    return _PICTURE.sub(cut, page.decode()).encode()


def is_page(head: bytes) -> bool:
    """Whether a file that begins with `head` is an HTML page."""
    return head.lstrip()[:14].lower() == b"<!doctype html"


def is_frames(head: bytes) -> bool:
    """Whether a file that begins with `head` is a .npy of frames, uint8 (n, height, width)."""
    try:
        _layout(head, whole=False)
    except ValueError:
        return False
    return True


def _layout(data: bytes, *, whole: bool = True) -> tuple[int, tuple[int, int, int]]:
    """Where the pixels begin, and their shape."""
    file = io.BytesIO(data[:4096])
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if len(shape) != 3 or fortran or dtype != np.uint8:
        raise ValueError(f"no frames: {dtype} {shape}")
    if whole and len(data) != file.tell() + shape[0] * shape[1] * shape[2]:
        raise ValueError(f"{len(data)} bytes for {shape}")
    return file.tell(), (shape[0], shape[1], shape[2])
