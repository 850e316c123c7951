"""What is refused with which reason, and that nothing else ever comes out of `decode`. Does not touch the bucket."""

import os
import pickle
import random
import time
import warnings
from pathlib import Path

import pytest
from PIL import Image

from tasks.frames import MAX_BRIGHTNESS, MIN_BRIGHTNESS, REASONS, FrameRefused, decode, read_file
from tasks.parameters import ValidationParameters
from tests.tasks.pictures import encoded, pixels_of, png_claiming, scene, taken

LARGE = scene(1, 640, 480)
JPEG = encoded(scene(), "JPEG", quality=90)
PNG = encoded(scene(), "PNG")
PGM = encoded(scene(), "PPM")
RAW = pixels_of(scene()).tobytes()


def reason(data: bytes, name: str = "x.jpg") -> str:
    """Why the file is refused; `ok` where it is not."""
    try:
        decode(data, name)
    except FrameRefused as error:
        refusal = error
    else:
        return "ok"
    assert refusal.reason in REASONS
    assert len(refusal.message) > 10
    return refusal.reason


REFUSED: dict[str, tuple[str, bytes, str]] = {
    "empty": ("empty_file", b"", "a.jpg"),
    "text": ("not_an_image", b"hello " * 100, "a.jpg"),
    "404 page": ("not_an_image", b"HTTP/1.1 404 Not Found\r\n\r\n", "a.jpg"),
    "web page": ("not_an_image", b"<!DOCTYPE html><html></html>", "a.png"),
    "lfs pointer": ("not_an_image", b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "a.jpg"),
    "svg": ("unsupported_format", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "a.jpg"),
    "svg with a prolog": ("unsupported_format", b'<?xml version="1.0"?>\n<svg/>', "a.png"),
    "gif": ("unsupported_format", encoded(scene(), "GIF"), "a.jpg"),
    "webp": ("unsupported_format", encoded(scene(), "WEBP"), "a.jpg"),
    "bmp": ("unsupported_format", encoded(scene(), "BMP"), "a.bmp"),
    "tiff": ("unsupported_format", encoded(scene(), "TIFF"), "a.tif"),
    "colour ppm": ("unsupported_format", encoded(scene().convert("RGB"), "PPM"), "a.ppm"),
    "raw short": ("wrong_raw_size", RAW[:-100], "a.raw"),
    "raw long": ("wrong_raw_size", RAW + b"\0", "a.RAW"),
    "raw rgb565": ("wrong_raw_size", RAW * 2, "a.bin"),
    "raw bytes named jpg": ("not_an_image", RAW, "a.jpg"),
    "jpeg cut": ("truncated", JPEG[: len(JPEG) // 2], "a.jpg"),
    "jpeg without its end": ("truncated", JPEG[:-2], "a.jpg"),
    "jpeg cut, end marker added": ("truncated", JPEG[: len(JPEG) // 2] + b"\xff\xd9", "a.jpg"),
    "jpeg header only": ("truncated", JPEG[:100], "a.jpg"),
    "png cut": ("truncated", PNG[: len(PNG) // 2], "a.png"),
    "png without its end": ("truncated", PNG[:-12], "a.png"),
    "png with a wrong byte": ("damaged", PNG[:200] + bytes([PNG[200] ^ 1]) + PNG[201:], "a.png"),
    "pgm cut": ("truncated", PGM[:-1], "a.pgm"),
    "pgm brighter than its white": ("damaged", b"P5 160 120 99\n" + RAW, "a.pgm"),
    "plain pgm with words": ("damaged", b"P2 160 120 255\n1 2 three", "a.pgm"),
    "pgm twice": ("several_pictures", PGM + PGM, "a.pgm"),
    "animated png": ("several_pictures", encoded(scene(), "PNG", save_all=True, append_images=[scene(2)]), "a.png"),
    "png bomb": ("too_many_pixels", png_claiming(30_000, 30_000), "a.png"),
    "pgm bomb": ("too_many_pixels", b"P5 60000 60000 255\n", "a.pgm"),
    "no pixels": ("damaged", png_claiming(0, 120), "a.png"),
    "tiny": ("too_small", encoded(scene(0, 16, 12), "PNG"), "a.png"),
    "one pixel": ("too_small", encoded(scene(0, 1, 1), "PNG"), "a.png"),
    "strip": ("wrong_aspect", encoded(scene(0, 1200, 60), "PNG"), "a.png"),
    "upright strip": ("wrong_aspect", encoded(scene(0, 100, 1000), "JPEG"), "a.jpg"),
    "black": ("all_black", encoded(Image.new("L", (160, 120), 0), "JPEG"), "a.jpg"),
    "white": ("all_white", encoded(Image.new("RGB", (640, 480), "white"), "JPEG"), "a.jpg"),
    "flat": ("no_contrast", encoded(Image.new("L", (160, 120), 90), "PNG"), "a.png"),
    "all transparent": ("all_white", encoded(Image.new("RGBA", (320, 240), (9, 9, 9, 0)), "PNG"), "a.png"),
    "black raw": ("all_black", bytes(19_200), "a.raw"),
    "one bright spot": ("too_dark", b"\xff" * 20 + bytes(19_180), "a.raw"),
    "one dark spot": ("too_bright", bytes(20) + b"\xff" * 19_180, "a.raw"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_frame_is_refused_with_its_own_reason(case: str) -> None:
    expected, data, name = REFUSED[case]
    assert reason(data, name) == expected


def test_every_reason_is_tested() -> None:
    by_other_tests = {"unreadable", "too_many_bytes"}
    assert {expected for expected, _, _ in REFUSED.values()} | by_other_tests == set(REASONS)


def test_a_bomb_is_refused_from_its_header_alone() -> None:
    started = time.process_time()
    assert reason(png_claiming(2**31 - 1, 2**31 - 1)) == "too_many_pixels"
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff" * 5_000_000,
        b"\xff\xd8\xff" + b"\0" * 5_000_000,
        b"\xff\xd8" + b"\xff\xfe\0\2" * 1_000_000,
        JPEG[:-2] + b"\xff\xda\0\x08\1\1\0\0\0\0" * 1000 + b"\xff\xd9",
        b"P5" + b" " * 5_000_000,
        b"P2 5000 5000 255\n" + b"1 " * 5_000_000,
    ],
    ids=["fill bytes", "zeros", "comments", "scans", "spaces", "digits"],
)
def test_a_hostile_header_does_not_keep_the_decoder_busy(data: bytes) -> None:
    started = time.process_time()
    assert reason(data) != "ok"
    assert time.process_time() - started < 2


def test_a_small_picture_is_enlarged_twice_at_most() -> None:
    assert reason(encoded(scene(0, 80, 60), "PNG")) == "ok"
    assert reason(encoded(scene(0, 79, 60), "PNG")) == "too_small"


def test_an_oversized_file_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(65 * 1024 * 1024)
    with pytest.raises(FrameRefused) as refusal:
        read_file(path)
    assert refusal.value.reason == "too_many_bytes"
    assert reason(b"\xff\xd8\xff" + bytes(65 * 1024 * 1024)) == "too_many_bytes"


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for name in ("pipe", "gone", "circle", "never-there", "."):
        with pytest.raises(FrameRefused) as refusal:
            read_file(tmp_path / name)
        assert refusal.value.reason == "unreadable", name


def test_a_frame_that_is_let_in_does_not_fail_the_brightness_expectation() -> None:
    limits = ValidationParameters()
    assert limits.min_brightness <= MIN_BRIGHTNESS
    assert limits.max_brightness >= MAX_BRIGHTNESS


def test_a_refusal_crosses_process_borders() -> None:
    with pytest.raises(FrameRefused) as caught:
        decode(b"")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.reason, copy.message) == ("empty_file", "the file has no bytes")


def test_warnings_as_errors_change_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reason(PNG) == "ok"
        assert reason(png_claiming(12_000, 12_000)) == "too_many_pixels"
        assert reason(encoded(LARGE.convert("P"), "PNG", transparency=b"\0\1")) == "ok"


@pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")
@pytest.mark.parametrize("seed", range(8))
def test_no_other_exception_escapes_whatever_the_bytes(seed: int) -> None:
    dice = random.Random(seed)
    exif = taken("2026:01:31 14:25:30", orientation=6)
    plain = b"P2 160 120 255\n" + b" ".join(b"%d" % value for value in RAW)
    originals = [
        encoded(scene(), "JPEG", exif=exif),
        encoded(scene().convert("RGB"), "JPEG", progressive=True),
        encoded(scene(), "PNG", exif=exif),
        encoded(scene().convert("P"), "PNG", transparency=3),
        encoded(scene().convert("CMYK"), "JPEG"),
        PGM,
        plain,
    ]
    seen = set()
    for _ in range(400):
        data = bytearray(dice.choice(originals))
        for _ in range(dice.choice((1, 1, 2, 5, 50))):
            at = dice.randrange(min(len(data), dice.choice((64, 400, len(data)))))
            move = dice.random()
            if move < 0.5:
                data[at] = dice.choice((0, 255, dice.randrange(256)))
            elif move < 0.7:
                del data[at : at + dice.choice((1, 2, 100))]
            elif move < 0.9:
                data[at:at] = dice.randbytes(dice.choice((1, 4, 40)))
            else:
                del data[at + 1 :]
            if not data:
                break
        seen.add(reason(bytes(data), dice.choice(("", "a.jpg", "a.raw"))))
    assert {"ok", "damaged", "truncated"} <= seen


def test_the_fixtures_are_accepted_or_refused_as_their_names_say(shared: Path) -> None:
    reasons = {path.name: reason(path.read_bytes(), path.name) for path in (shared / "fixtures/frames").iterdir()}
    accepted = {name for name, why in reasons.items() if why == "ok"}
    assert accepted == {name for name in reasons if name.startswith("ok_")}
    refused = [why for why in reasons.values() if why != "ok"]
    assert len(set(refused)) == len(refused) == 10
