"""Small deterministic pictures for tests of frames and imports."""

import io
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def scene(seed: int = 0, width: int = 160, height: int = 120) -> Image.Image:
    """A smooth gray picture with structure at every scale; another seed looks different."""
    cells = np.random.default_rng(seed).integers(20, 236, (12, 16), dtype=np.uint8)
    return Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)


def pixels_of(picture: Image.Image) -> NDArray[np.uint8]:
    """Its pixels."""
    return np.asarray(picture)


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    """The picture as a file of Pillow's `kind` (PPM writes gray as PGM)."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def taken(when: str, *, offset: str = "", orientation: int = 1) -> Image.Exif:
    """EXIF with a capture time like "2026:01:31 14:25:30"."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    details = exif.get_ifd(0x8769)
    details[0x9003] = when
    if offset:
        details[0x9011] = offset
    return exif


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    header = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 0, 0, 0, 0])
    empty = chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + empty
