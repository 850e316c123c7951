"""What becomes a frame and with which pixels. What is refused is test_frames_refused.py's; no bucket."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.frames import (
    FramePixels,
    as_png,
    decode,
)
from tests.tasks.pictures import encoded, pixels_of, scene, taken

LARGE = scene(1, 640, 480)
JPEG = encoded(scene(), "JPEG", quality=90)
PNG = encoded(scene(), "PNG")
PGM = encoded(scene(), "PPM")
RAW = pixels_of(scene()).tobytes()


def difference(one: FramePixels, picture: Image.Image) -> float:
    """Mean absolute difference of a frame and a 160 x 120 picture, in gray levels."""
    return float(np.abs(one.pixels.astype(int) - pixels_of(picture).astype(int)).mean())


@pytest.mark.parametrize(
    ("data", "name", "kind"), [(PNG, "a.png", "png"), (PGM, "a.pgm", "pgm"), (RAW, "a.raw", "raw"), (RAW, "", "raw")]
)
def test_a_frame_that_is_160_by_120_gray_passes_bit_exactly(data: bytes, name: str, kind: str) -> None:
    frame = decode(data, name)
    assert frame.pixels.tobytes() == RAW
    assert frame.pixels.shape == (120, 160)
    assert frame.pixels.dtype == np.uint8
    assert (frame.format, frame.width, frame.height, frame.unchanged) == (kind, 160, 120, True)
    assert frame.pixels_sha256 == hashlib.sha256(RAW).hexdigest()


def test_a_gray_jpeg_of_frame_size_has_the_pixels_that_any_decoder_gives() -> None:
    frame = decode(JPEG)
    with Image.open(io.BytesIO(JPEG)) as picture:
        assert frame.pixels.tobytes() == picture.tobytes()
    assert frame.unchanged


def test_brightness_and_contrast_are_mean_and_standard_deviation() -> None:
    frame = decode(PNG)
    assert frame.brightness == pytest.approx(pixels_of(scene()).mean())
    assert frame.contrast == pytest.approx(pixels_of(scene()).std())


def test_pixels_cannot_be_changed_by_who_gets_them() -> None:
    with pytest.raises(ValueError, match="read-only"):
        decode(PNG).pixels[0, 0] = 1


def test_a_frame_written_as_png_reads_back_the_same() -> None:
    frame = decode(encoded(LARGE, "PNG"))
    assert decode(as_png(frame.pixels)).pixels_sha256 == frame.pixels_sha256


def test_a_larger_picture_is_reduced_by_averaging() -> None:
    frame = decode(encoded(LARGE, "PNG"))
    means = pixels_of(LARGE).reshape(120, 4, 160, 4).mean(axis=(1, 3))
    assert np.abs(frame.pixels - means).max() <= 1
    assert not frame.unchanged


def test_the_crop_is_the_middle_of_a_wide_and_of_a_tall_picture() -> None:
    wide = Image.new("L", (960, 480), 0)
    wide.paste(LARGE, (160, 0))
    tall = Image.new("L", (640, 960), 0)
    tall.paste(LARGE, (0, 240))
    inside = LARGE.resize((160, 120), Image.Resampling.BOX)
    assert difference(decode(encoded(wide, "PNG")), inside) <= 1
    assert difference(decode(encoded(tall, "PNG")), inside) <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_respected(orientation: int, kind: str) -> None:
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(orientation)
    stored = LARGE if undo is None else LARGE.transpose(Image.Transpose(undo))
    data = encoded(stored, kind, exif=taken("2026:01:31 14:25:30", orientation=orientation))
    assert difference(decode(data), LARGE.resize((160, 120), Image.Resampling.BOX)) < 2


def test_a_turned_frame_of_frame_size_is_not_passed_through() -> None:
    data = encoded(scene().transpose(Image.Transpose.ROTATE_180), "PNG", exif=taken("", orientation=3))
    frame = decode(data)
    assert not frame.unchanged
    assert frame.pixels.tobytes() == RAW


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGB", "RGBA", "I;16"])
def test_every_png_mode_shows_the_same_scene(mode: str) -> None:
    wide = Image.fromarray(pixels_of(LARGE).astype(np.uint16) * 257)
    picture = wide if mode == "I;16" else LARGE.convert(mode)
    frame = decode(encoded(picture, "PNG"), "a.png")
    assert difference(frame, LARGE.resize((160, 120), Image.Resampling.BOX)) < (12 if mode == "1" else 2)


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_colour_jpegs_show_the_same_scene(mode: str, progressive: bool) -> None:
    data = encoded(LARGE.convert(mode), "JPEG", quality=95, progressive=progressive)
    assert difference(decode(data), LARGE.resize((160, 120), Image.Resampling.BOX)) < 2


def test_a_reduced_decode_of_a_large_jpeg_matches_the_full_one() -> None:
    large = scene(3, 2560, 1920)
    frame = decode(encoded(large.convert("RGB"), "JPEG", quality=95))
    assert difference(frame, large.resize((160, 120), Image.Resampling.BOX)) < 1


def test_transparent_parts_show_white() -> None:
    picture = LARGE.convert("RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, 320, 480))
    frame = decode(encoded(picture, "PNG"))
    assert (frame.pixels[:, :79] == 255).all()
    assert frame.pixels[:, 81:].std() > 10


def test_pgm_of_every_kind_gives_the_same_pixels() -> None:
    values = pixels_of(scene())
    plain = b"P2 # made by hand\n160 120\n255\n" + b" ".join(b"%d" % value for value in values.ravel())
    wide = b"P5 160 120 65535\n" + (values.astype(">u2") * 257).tobytes()
    for data in (PGM, plain, wide, b"P5\n# a\n# b\n160\n120\n255\n" + RAW, PGM + b"\n"):
        assert decode(data, "a.pgm").pixels.tobytes() == RAW


def test_capture_time_comes_from_exif_in_utc() -> None:
    plain = decode(encoded(LARGE, "JPEG", exif=taken("2026:01:31 14:25:30"))).captured_at
    shifted = decode(encoded(LARGE, "JPEG", exif=taken("2026:01:31 14:25:30", offset="+02:00"))).captured_at
    assert plain is not None
    assert shifted is not None
    assert plain.isoformat() == "2026-01-31T14:25:30+00:00"
    assert shifted.isoformat() == "2026-01-31T12:25:30+00:00"


@pytest.mark.parametrize("when", ["0000:00:00 00:00:00", "1970:01:01 00:00:05", "yesterday", ""])
def test_a_clock_that_was_never_set_is_no_capture_time(when: str) -> None:
    assert decode(encoded(LARGE, "JPEG", exif=taken(when))).captured_at is None


@pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")
def test_a_damaged_exif_block_does_not_spoil_the_picture() -> None:
    exif = taken("2026:01:31 14:25:30").tobytes()
    data = encoded(LARGE, "JPEG", exif=exif[:12] + b"\xff" * (len(exif) - 12))
    assert decode(data).captured_at is None


def test_a_second_picture_inside_a_photo_is_left_alone() -> None:
    photo = encoded(LARGE, "MPO", save_all=True, append_images=[scene(9, 640, 480)])
    assert difference(decode(photo), LARGE.resize((160, 120), Image.Resampling.BOX)) < 2


@pytest.mark.parametrize("size", [(480, 640), (360, 640), (1080, 2400), (120, 160)])
def test_a_portrait_photo_keeps_its_full_width(size: tuple[int, int]) -> None:
    picture = scene(4, *size)
    height = size[0] * 3 / 4
    box = (0, (size[1] - height) / 2, size[0], (size[1] + height) / 2)
    expected = picture.resize((160, 120), Image.Resampling.BOX, box=box)
    assert difference(decode(encoded(picture, "PNG")), expected) < 3


def test_real_frames_pass_bit_exactly(shared: Path) -> None:
    for path in sorted((shared / "data/landing-1").rglob("*.jpg"))[::20]:
        frame = decode(path.read_bytes(), path.name)
        with Image.open(path) as picture:
            assert frame.pixels.tobytes() == picture.tobytes()
        assert frame.unchanged
