"""Decoding on one core: `tasks.frames.decode` against Pillow and OpenCV used plainly, in the same run, in turns.

    python benchmarks/decode.py [--frames 3000]

The frames are 160 x 120 JPEGs of ../shared/data where that is there, else generated ones. `decode` checks the header,
the end of the data and the light, and hashes the pixels; the peers only decode.
"""

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tasks.frames import decode
from tasks.settings import PROJECT

ROUNDS = 5


def frames(count: int) -> list[bytes]:
    """Gray JPEGs of frame size."""
    real = sorted((PROJECT.parent / "shared/data/seed").rglob("*.jpg"))
    if real:
        return [path.read_bytes() for path in real[:: max(1, len(real) // count)][:count]]
    return [encoded(smooth(seed, 160, 120), "JPEG") for seed in range(count)]


def smooth(seed: int, width: int, height: int) -> Image.Image:
    """Smooth noise."""
    cells = np.random.default_rng(seed).integers(0, 256, (12, 16), np.uint8)
    return Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, kind: str) -> bytes:
    """A file of it."""
    sink = io.BytesIO()
    picture.save(sink, kind)
    return sink.getvalue()


def pillow(data: bytes) -> object:
    """What one would write first."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("L").resize((160, 120), Image.Resampling.BOX))


def opencv(data: bytes) -> object:
    """The same with OpenCV."""
    gray = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert gray is not None
    return gray if gray.shape == (120, 160) else cv2.resize(gray, (160, 120), interpolation=cv2.INTER_AREA)


def main() -> None:
    """Prints a table: pictures a second, median of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=3000)
    cv2.setNumThreads(1)
    photo = smooth(0, 4000, 3000).convert("RGB")
    work = {
        "160 x 120 gray JPEG": frames(parser.parse_args().frames),
        "12 megapixel JPEG": [encoded(photo, "JPEG")] * 4,
        "12 megapixel PNG": [encoded(photo, "PNG")] * 2,
    }
    ways: dict[str, Callable[[bytes], object]] = {"decode": decode, "Pillow": pillow, "OpenCV": opencv}
    print(f"{'pictures/s, process time':<26}" + "".join(f"{name:>10}" for name in ways))
    for what, files in work.items():
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                started = time.process_time()
                for data in files:
                    way(data)
                rates[name].append(len(files) / (time.process_time() - started))
        print(f"{what:<26}" + "".join(f"{statistics.median(rates[name]):>10,.1f}" for name in ways))


if __name__ == "__main__":
    main()
