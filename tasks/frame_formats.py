"""What a file claims to be and how it is opened: JPEG, PNG, PGM, raw gray8; everything else is refused with one reason.

Nothing here decodes pixels before the header was checked: a picture of 900 megapixels costs its header. The headers are
walked here first, because Pillow walks them byte by byte in Python and can be kept busy for minutes by a hostile file.
"""

import io
import re
import warnings
import zlib
from collections.abc import Callable
from pathlib import PurePosixPath

import numpy as np
from PIL import Image, JpegImagePlugin, PngImagePlugin

from tasks.errors import PipelineError

WIDTH, HEIGHT = 160, 120  # of a frame, in pixels
MAX_BYTES = 64 * 1024 * 1024  # of a file
MAX_PIXELS = 64_000_000  # of a picture: above every phone's usual modes, 1/14 of a 30,000 x 30,000 bomb
RAW_SUFFIXES = ("", ".raw", ".gray", ".grey", ".gray8", ".y8", ".bin")
_MAX_PLAIN = 8 * 1024 * 1024  # of a PGM in decimal digits, which take a hundred times as long to read
_MAX_JUNK, _MAX_SEGMENTS, _MAX_CHUNKS, _MAX_SCANS = 1024, 4096, 200_000, 100

# Pillow warns of oddities that do not matter to the pixels; a caller who turns warnings into errors must get the same
# answer as everybody else.
warnings.filterwarnings("ignore", module=r"PIL\.")

REASONS = {
    "unreadable": "the file cannot be read (permissions, a broken link, not a regular file)",
    "empty_file": "the file has no bytes",
    "too_many_bytes": f"the file is above {MAX_BYTES // 2**20} MiB",
    "not_an_image": "the bytes are no picture (text, a web page, an archive, ...)",
    "unsupported_format": "a picture, but not JPEG, PNG, PGM or raw gray8",
    "wrong_raw_size": f"a raw file that has not exactly {WIDTH * HEIGHT:,} bytes",
    "truncated": "the picture's data ends too early",
    "damaged": "the picture's data contradicts itself",
    "several_pictures": "an animation or several pictures in one file",
    "too_many_pixels": f"the picture has more than {MAX_PIXELS // 1_000_000} megapixels",
    "too_small": "the 4:3 crop would have to be enlarged more than twice",
    "wrong_aspect": "the 4:3 crop would keep less than 30 % of the picture",
    "all_black": "nothing but black",
    "all_white": "nothing but white",
    "no_contrast": "one flat gray",
    "too_dark": "almost nothing but black",
    "too_bright": "almost nothing but white",
}


class FrameRefused(PipelineError):
    """A file that does not become a frame. `reason` is a key of `REASONS` and stable; the message is a sentence."""

    def __init__(self, reason: str, message: str) -> None:
        assert reason in REASONS
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return (FrameRefused, (self.reason, self.message))


def sniff(data: bytes, name: str) -> str:
    """`jpeg`, `png`, `pgm` or `raw`, by content; the name only decides whether bytes without a header may be raw.

    Raises `FrameRefused` for everything else, saying what it is where that can be told.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if _PGM.match(data):
        return "pgm"
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in RAW_SUFFIXES[1:]:
        if len(data) == WIDTH * HEIGHT:
            return "raw"
        raise FrameRefused("wrong_raw_size", f"{_raw_size(len(data))}, and it is no JPEG, PNG or PGM either")
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in head:
        raise FrameRefused("unsupported_format", "an SVG drawing; accepted are JPEG, PNG, PGM and raw gray8")
    for magic, at, what in _OTHER_PICTURES:
        if data[at : at + len(magic)] == magic:
            raise FrameRefused("unsupported_format", f"{what}; accepted are JPEG, PNG, PGM and raw gray8")
    for magic, what in _OTHER_FILES:
        if head.startswith(magic):
            raise FrameRefused("not_an_image", f"{what}, not a picture")
    if suffix == "" and len(data) == WIDTH * HEIGHT:
        return "raw"
    text = not data[:1024].translate(None, _TEXT)
    what = "text" if text else f"{len(data):,} bytes that start like no known picture format"
    raise FrameRefused("not_an_image", f"{what}; accepted are JPEG, PNG, PGM and raw gray8 of {WIDTH * HEIGHT:,} bytes")


def open_picture(data: bytes, kind: str) -> Image.Image:
    """The picture as Pillow sees it, pixels not decoded yet for JPEG and PNG; any mode, checked for size.

    Raises `FrameRefused`, and whatever Pillow raises for damaged data.
    """
    return _OPENERS[kind](data)


def checked_size(width: int, height: int) -> tuple[int, int]:
    """The size, refused where decoding it would cost too much memory."""
    if width < 1 or height < 1:
        raise FrameRefused("damaged", f"the header says {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise FrameRefused(
            "too_many_pixels",
            f"{width} x {height} pixels are {width * height / 1e6:.0f} megapixels; at most {MAX_PIXELS // 10**6}",
        )
    return width, height


def load_jpeg(data: bytes, picture: Image.Image, reduce: int) -> None:
    """Decodes a JPEG as luma, made by libjpeg itself and reduced by the largest of 1, 2, 4, 8 up to `reduce`.

    Raises `FrameRefused` where the data ends early and an end marker was put behind it: libjpeg then repeats the last
    gray level and says nothing that Pillow passes on. So where the last blocks are flat, other bytes are put before the
    end marker: data that was complete decodes to the same pixels.
    """
    size = (max(picture.width // min(reduce, 8), 1), max(picture.height // min(reduce, 8), 1))
    picture.draft("L", size)
    picture.load()
    width, height = picture.size
    corner = picture.crop((max(width - 16, 0), max(height - 8, 0), width, height)).convert("L")
    low, high = corner.getextrema()
    end = data.rfind(b"\xff\xd9")
    if low != high or end < 0:
        return
    again = JpegImagePlugin.JpegImageFile(io.BytesIO(data[:end] + b"\x5a\x3c\xa5\xc3" * 64 + data[end:]))
    again.draft("L", size)
    if again.tobytes() != picture.tobytes():
        raise FrameRefused("truncated", "the JPEG's data ends before its last rows, though it has an end marker")


def _jpeg(data: bytes) -> Image.Image:
    checked_size(*_jpeg_size(data))
    if data.count(b"\xff\xda") > _MAX_SCANS:
        raise FrameRefused("damaged", f"more than {_MAX_SCANS} scans in one JPEG")
    # Not Image.open: a phone's photo often carries a second picture (depth, HDR gain map); the first one is the photo.
    return JpegImagePlugin.JpegImageFile(io.BytesIO(data))


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height from the frame header; walks the segments up to the first scan."""
    size, at = None, 2
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, at, at + _MAX_JUNK)
        if not found:
            if at + _MAX_JUNK >= len(data):
                raise FrameRefused("truncated", f"the JPEG's header ends after {len(data):,} bytes")
            break
        marker, at = data[found.end() - 1], found.end()
        if marker == 0xDA:
            if size is None:
                break
            return size
        if marker == 0xD9:
            raise FrameRefused("truncated", "the JPEG ends before its first scan")
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a length
            continue
        length = int.from_bytes(data[at : at + 2])
        if at + max(length, 2) > len(data):
            raise FrameRefused("truncated", f"the JPEG's header ends after {len(data):,} bytes")
        if length < 2:
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            size = int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 3 : at + 5])
        at += length
    raise FrameRefused("damaged", "the JPEG's header is no sequence of segments with a frame header and a scan")


def _png(data: bytes) -> Image.Image:
    """Checks the chunks and hands Pillow those that matter to the pixels (text and profiles may be bombs too)."""
    header: list[bytes] = []
    pixels: list[bytes] = []
    at = 8
    for _ in range(_MAX_CHUNKS):
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data):
            raise FrameRefused("truncated", f"the PNG ends after {len(data):,} bytes, inside a chunk or without IEND")
        if at == 8:
            if kind != b"IHDR" or length != 13:
                raise FrameRefused("damaged", "the PNG does not start with its header")
            checked_size(int.from_bytes(data[16:20]), int.from_bytes(data[20:24]))
        if kind == b"acTL" and length == 8 and int.from_bytes(data[at + 8 : at + 12]) > 1:
            raise FrameRefused("several_pictures", "an animated PNG; a frame is one picture")
        if kind in _PNG_CHUNKS and not (kind == b"eXIf" and length > 2**16):
            if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
                raise FrameRefused("damaged", f"the checksum of the PNG's {kind.decode()} chunk is wrong")
            (pixels if kind in (b"IDAT", b"IEND") else header).append(data[at:end])
        elif kind[:1].isupper():
            raise FrameRefused("damaged", f"the PNG has a critical chunk that no decoder knows: {kind!r}")
        if kind == b"IEND":
            return PngImagePlugin.PngImageFile(io.BytesIO(b"".join([data[:8], *header, *pixels])))
        at = end
    raise FrameRefused("damaged", f"the PNG has more than {_MAX_CHUNKS:,} chunks")


def _pgm(data: bytes) -> Image.Image:
    """P5 and P2, 8 or 16 bit. Read here: Pillow reads all but 8-bit P5 pixel by pixel in Python."""
    header = _PGM.match(data)
    assert header
    width, height = checked_size(int(header["width"]), int(header["height"]))
    largest, count = int(header["largest"]), width * height
    if not 0 < largest < 65536:
        raise FrameRefused("damaged", f"the PGM says that white is {largest}; allowed are 1 to 65,535")
    if header["kind"] == b"P2":
        if len(data) > _MAX_PLAIN:
            raise FrameRefused("too_many_bytes", f"{len(data):,} bytes of plain-text PGM; at most {_MAX_PLAIN:,}")
        text = re.sub(rb"#[^\r\n]*", b"", data[header.end() :])
        if text.translate(None, b"0123456789 \t\r\n\v\f"):
            raise FrameRefused("damaged", "the plain PGM holds something else than numbers")
        values = np.fromstring(text.decode("ascii"), np.float64, sep=" ") if text.strip() else np.zeros(0)
        rest = b"" if len(values) <= count else b"more"
    else:
        wide = np.dtype(">u2" if largest > 255 else "u1")
        body = data[header.end() :]
        values = np.frombuffer(body[: len(body) // wide.itemsize * wide.itemsize], wide)
        rest = body[count * wide.itemsize :].strip(b" \t\r\n\0")
    if len(values) < count:
        raise FrameRefused("truncated", f"{len(values):,} of the PGM's {count:,} pixels are there")
    if rest:
        raise FrameRefused("several_pictures", "the PGM goes on after its picture; a frame is one picture")
    values = values[:count].reshape(height, width)
    if values.size and values.max() > largest:
        raise FrameRefused("damaged", f"the PGM says that white is {largest} and has pixels of {values.max():.0f}")
    gray = values if largest == 255 else np.rint(values * (255.0 / largest))
    image = Image.fromarray(np.ascontiguousarray(gray, np.uint8))
    image.info["scaled"] = largest != 255
    return image


def _raw(data: bytes) -> Image.Image:
    return Image.frombytes("L", (WIDTH, HEIGHT), data)


def _raw_size(size: int) -> str:
    hint = " (that would be two bytes a pixel: RGB565 or YUV422)" if size == 2 * WIDTH * HEIGHT else ""
    hint = " (that would be three bytes a pixel: RGB888)" if size == 3 * WIDTH * HEIGHT else hint
    return f"{size:,} bytes{hint}; a raw gray8 frame has exactly {WIDTH * HEIGHT:,} ({WIDTH} x {HEIGHT})"


_OPENERS: dict[str, Callable[[bytes], Image.Image]] = {"jpeg": _jpeg, "png": _png, "pgm": _pgm, "raw": _raw}
_MARKER = re.compile(rb"\xff+[^\xff\x00]")
_GAP = rb"(?:[ \t\r\n]|#[^\r\n]{0,1000}[\r\n]){1,100}"
_PGM = re.compile(
    rb"(?P<kind>P[25])"
    + _GAP
    + rb"(?P<width>\d{1,9})"
    + _GAP
    + rb"(?P<height>\d{1,9})"
    + _GAP
    + rb"(?P<largest>\d{1,9})\s"
)
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND")
_TEXT = bytes([9, 10, 12, 13, *range(32, 127), *range(128, 256)])
_OTHER_PICTURES = (
    (b"GIF8", 0, "a GIF"),
    (b"WEBP", 8, "a WebP"),
    (b"BM", 0, "a Windows bitmap"),
    (b"II*\0", 0, "a TIFF or camera raw"),
    (b"MM\0*", 0, "a TIFF or camera raw"),
    (b"ftypheic", 4, "a HEIC"),
    (b"ftypheix", 4, "a HEIC"),
    (b"ftypmif1", 4, "a HEIF"),
    (b"ftypavif", 4, "an AVIF"),
    (b"JXL ", 4, "a JPEG XL"),
    (b"\xff\x0a", 0, "a JPEG XL"),
    (b"jP  ", 4, "a JPEG 2000"),
    (b"8BPS", 0, "a Photoshop file"),
    (b"\0\0\1\0", 0, "an icon"),
    *(
        (b"P" + digit, 0, "a netpbm picture that is not gray (PGM is P5 or P2)")
        for digit in (b"1", b"3", b"4", b"6", b"7")
    ),
)
_OTHER_FILES = (
    (b"<!doctype", "a web page"),
    (b"<html", "a web page"),
    (b"<?xml", "an XML file"),
    (b"http/", "a web server's answer"),
    (b"%pdf", "a PDF"),
    (b"pk\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"version https://git-lfs", "a Git LFS pointer (run `git lfs pull`)"),
)
