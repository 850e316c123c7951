"""A camera file becomes a frame: 160 x 120 pixels of 8-bit gray, or is refused with one reason.

`decode` is the only judge of what a frame is: import, ingest and check-frames all call it. A picture is turned
upright (EXIF orientation), cropped in the middle to 4:3 and brought to size with an area filter; a portrait photo keeps
its full width. A file that is 160 x 120 gray already passes through with its pixels unchanged.
"""

import contextlib
import hashlib
import io
import math
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from tasks.frame_formats import HEIGHT as HEIGHT
from tasks.frame_formats import MAX_BYTES, checked_size, load_jpeg, open_picture, sniff
from tasks.frame_formats import REASONS as REASONS
from tasks.frame_formats import WIDTH as WIDTH
from tasks.frame_formats import FrameRefused as FrameRefused

MIN_CROP = (80, 60)  # smallest 4:3 crop: enlarged at most twice
MIN_KEPT = 0.3  # smallest share of the picture that the crop keeps: up to 40:9, portrait up to 2:5
MIN_BRIGHTNESS, MAX_BRIGHTNESS = 2.0, 253.0  # mean gray level
MIN_CONTRAST = 0.5  # a capped lens shows its noise (0.9 on the darkest real frame): a frame without a person
# Pictures above so many pixels are decoded one at a time, however many threads there are: 64 megapixels with
# transparency take half a gigabyte. A JPEG is reduced while it is decoded and needs far less.
_LARGE, _LARGE_JPEG = 4_000_000, 16_000_000
_large_pictures = threading.Lock()


@dataclass(frozen=True, slots=True)
class FramePixels:
    """A frame's pixels and what is known of its file."""

    pixels: NDArray[np.uint8]  # (120, 160), 0 black .. 255 white, read-only
    pixels_sha256: str  # of the 19,200 pixel bytes, row by row
    brightness: float  # mean gray level, 0..255
    contrast: float  # standard deviation of the gray levels, 0..127.5
    format: str  # jpeg, png, pgm, raw
    width: int  # of the file's picture, as stored (before it is turned upright)
    height: int
    captured_at: datetime | None  # UTC, from EXIF; a camera that stores no offset is taken to run on UTC
    unchanged: bool  # the file held exactly these pixels: 160 x 120, 8-bit gray, upright


def decode(data: bytes, name: str = "", *, any_light: bool = False) -> FramePixels:
    """The frame in a file's bytes. `name` only decides whether bytes without a header may be raw gray8.

    `any_light`: also a frame that is nothing but black, white or one gray: no example of anything, but an input that a
    device must survive. Raises `FrameRefused`, and nothing else, whatever the bytes are.
    """
    try:
        return _decode(data, name, any_light)
    except FrameRefused:
        raise
    except MemoryError as error:
        raise FrameRefused("too_many_pixels", "not enough memory to decode the picture") from error
    except Exception as error:  # Pillow's decoders raise a dozen kinds, some undocumented
        what = "truncated" if "truncated" in str(error).lower() else "damaged"
        raise FrameRefused(
            what, f"the picture cannot be decoded: {str(error)[:200] or type(error).__name__}"
        ) from error


def read_file(path: Path) -> bytes:
    """A file's bytes. Raises `FrameRefused` where it cannot be read, is no regular file, or is too large."""
    try:
        if not path.is_file():  # a pipe would wait for a writer
            what = "it does not exist or is a broken link" if not path.exists() else "it is no regular file"
            raise FrameRefused("unreadable", f"the file cannot be read: {what}")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise FrameRefused("unreadable", f"the file cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise FrameRefused("too_many_bytes", f"the file is above {MAX_BYTES // 2**20} MiB")
    return data


def as_png(pixels: NDArray[np.uint8]) -> bytes:
    """A frame, uint8 (120, 160), as an 8-bit gray PNG: `decode` gives the same pixels again."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def _decode(data: bytes, name: str, any_light: bool) -> FramePixels:
    if not data:
        raise FrameRefused("empty_file", "the file has no bytes")
    if len(data) > MAX_BYTES:
        raise FrameRefused("too_many_bytes", f"{len(data):,} bytes; at most {MAX_BYTES:,}")
    kind = sniff(data, name)
    picture = open_picture(data, kind)
    width, height = checked_size(*picture.size)
    orientation, captured_at = _exif_facts(picture)
    sideways = orientation >= 5
    crop_width, crop_height = _crop(*((height, width) if sideways else (width, height)))
    same = (width, height) == (WIDTH, HEIGHT) and orientation == 1
    unchanged = same and picture.mode == "L" and not picture.info.get("scaled")
    large = width * height > (_LARGE_JPEG if kind == "jpeg" else _LARGE)
    with _large_pictures if large else contextlib.nullcontext():
        if kind == "jpeg":
            # Reduced by 2, 4 or 8 while decoding, and at least twice the frame's size is left for the area filter.
            load_jpeg(data, picture, max(int(crop_width / (2 * WIDTH)), 1))
        gray = _gray(picture)
        if not same:
            crop = (crop_height, crop_width) if sideways else (crop_width, crop_height)
            gray = _resized(gray, crop[0] * gray.width / width, crop[1] * gray.height / height, orientation)
            picture.close()  # its memory is free before the next one begins
    pixels = np.asarray(gray)
    pixels.setflags(write=False)
    brightness, contrast = _light(gray, any_light)
    return FramePixels(
        pixels,
        hashlib.sha256(pixels.tobytes()).hexdigest(),
        brightness,
        contrast,
        kind,
        width,
        height,
        captured_at,
        unchanged,
    )


def _crop(width: int, height: int) -> tuple[float, float]:
    """Size of the largest 4:3 rectangle in an upright picture; refused where too little or too small a part is left."""
    crop_width, crop_height = min(width, height * 4 / 3), min(height, width * 3 / 4)
    kept = crop_width * crop_height / (width * height)
    if kept < MIN_KEPT:
        raise FrameRefused(
            "wrong_aspect",
            f"{width} x {height} pixels: a 4:3 crop would keep {kept:.0%} of the picture, {MIN_KEPT:.0%} are needed",
        )
    if crop_width < MIN_CROP[0] or crop_height < MIN_CROP[1]:
        raise FrameRefused(
            "too_small",
            f"{width} x {height} pixels: the 4:3 crop is {crop_width:.0f} x {crop_height:.0f}, "
            f"at least {MIN_CROP[0]} x {MIN_CROP[1]} are needed for {WIDTH} x {HEIGHT}",
        )
    return crop_width, crop_height


def _gray(picture: Image.Image) -> Image.Image:
    """Any mode as 8-bit gray (ITU-R 601 luma); 16-bit values lose their low byte, transparency shows white."""
    if picture.mode == "L" and not picture.has_transparency_data:
        return picture
    if picture.mode.startswith("I"):
        return Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        clear = picture if picture.mode in ("LA", "RGBA") else picture.convert("RGBA")
        white = Image.new("L", clear.size, 255)
        white.paste(clear.convert("L"), mask=clear.getchannel("A"))
        return white
    if picture.mode not in ("1", "RGB"):
        picture = picture.convert("RGB")
    return picture.convert("L")


def _resized(gray: Image.Image, crop_width: float, crop_height: float, orientation: int) -> Image.Image:
    """The middle of a picture as stored, `crop_width` x `crop_height`, at frame size and upright."""
    left, top = (gray.width - crop_width) / 2, (gray.height - crop_height) / 2
    box = (max(left, 0.0), max(top, 0.0), min(left + crop_width, gray.width), min(top + crop_height, gray.height))
    size = (HEIGHT, WIDTH) if orientation >= 5 else (WIDTH, HEIGHT)
    larger = size[0] > crop_width
    gray = gray.resize(size, Image.Resampling.BILINEAR if larger else Image.Resampling.BOX, box=box)
    turn = _TURNS.get(orientation)
    return gray if turn is None else gray.transpose(turn)


def _light(gray: Image.Image, any_light: bool) -> tuple[float, float]:
    """Mean and standard deviation of the gray levels; refused where nothing can be seen, unless `any_light`."""
    counts = gray.histogram()
    total = WIDTH * HEIGHT
    mean = sum(level * n for level, n in enumerate(counts)) / total
    contrast = math.sqrt(max(sum(level * level * n for level, n in enumerate(counts)) / total - mean * mean, 0.0))
    if any_light:
        return mean, contrast
    figures = f"mean gray level {mean:.1f} of 255, standard deviation {contrast:.1f}"
    if contrast < MIN_CONTRAST:
        what = "all_black" if mean < 16 else "all_white" if mean > 239 else "no_contrast"
        raise FrameRefused(what, f"{REASONS[what]}: {figures}, at least {MIN_CONTRAST} is needed")
    if mean < MIN_BRIGHTNESS:
        raise FrameRefused("too_dark", f"{REASONS['too_dark']}: {figures}; a mean of {MIN_BRIGHTNESS:.0f} is needed")
    if mean > MAX_BRIGHTNESS:
        raise FrameRefused("too_bright", f"{REASONS['too_bright']}: {figures}; at most {MAX_BRIGHTNESS:.0f} is allowed")
    return mean, contrast


def _exif_facts(picture: Image.Image) -> tuple[int, datetime | None]:
    """Orientation (1..8) and capture time. What is broken in EXIF is as good as not there."""
    if "exif" not in picture.info:
        return 1, None
    try:
        exif = picture.getexif()
        orientation = exif.get(ExifTags.Base.Orientation, 1)
        details = exif.get_ifd(ExifTags.IFD.Exif)
        taken = details.get(ExifTags.Base.DateTimeOriginal) or details.get(ExifTags.Base.DateTimeDigitized)
        offset = details.get(ExifTags.Base.OffsetTimeOriginal)
    except Exception:  # a damaged EXIF block does not spoil the picture
        return 1, None
    upright = orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
    return upright, exif_time(taken, offset)


def exif_time(taken: object, offset: object = None) -> datetime | None:
    """EXIF's "2024:01:31 14:25:30" and "+02:00" as UTC; None where it is no time or the clock was never set."""
    try:
        moment = datetime.strptime(str(taken).strip("\0 ")[:19], "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    if moment.year < 1990:
        return None
    text = str(offset or "").strip("\0 ")
    if len(text) == 6 and text[0] in "+-" and text[1:3].isdigit() and text[4:].isdigit():
        shift = timedelta(hours=int(text[1:3]), minutes=int(text[4:]))
        moment = moment - shift if text[0] == "+" else moment + shift
    return moment


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
