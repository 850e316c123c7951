"""Labelled demo frames, composed from photographs that packages ship: they prove the pipeline, not the accuracy.

A frame is a piece of a background photograph with two patches pasted into it. In `person` the larger one is a face of
scikit-image's `lfw_subset`, in `no_person` something else; the smaller one is something else in both.

Pasting is no clue. Both classes use the same code, blending, sizes, places, backgrounds, light, optics and noise, drawn
from the same distributions, and what is pasted in `no_person` is first given the gray levels and the energy at every
scale of a face (`demo_scenes.matched`). What is left is what the patch shows. benchmarks/demo_clues.py measures what
classifiers reach that see only statistics of a frame.

Splits are honest. A face, a patch and a region of a background photograph belong to one split, whatever the seed
(demo_scenes.py), and the manifest says which. A session is one scene with one face or patch in it: its one to three
frames differ by a small movement and noise. Faces are mixed with up to 40 % of another face of the same split.

Limits, plainly. There are 100 faces, frontal and 25 x 25 pixels: 65 to train on and 20 to test on. The sessions of the
test split show these 20 over and over, in other places, sizes and light: they are independent enough to bound what INT8
loses against FP32 on such frames, and say little about people the model has not seen. Photographs are disjoint between
splits, people may not be: LFW has several pictures of some of them. Pasted faces are not people in a room.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from tasks.demo_scenes import DEVICES, ELLIPSE, PATCH, Material, matched, material, standardised
from tasks.lineage import Label, Split

WIDTH, HEIGHT = 160, 120
VERSION = 1  # raise it when the same count and seed give other frames than before
# Split of each pair of sessions, over and over: 13 train, 3 val, 4 test of 20.
_DEAL: dict[str, Split] = {"T": "train", "V": "val", "E": "test"}
_SPLIT_OF_PAIR: tuple[Split, ...] = tuple(_DEAL[letter] for letter in "TTETTVTTETTVTTETTVTE")
_START = datetime(2026, 1, 1, 8, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Optics:
    """A made-up camera: blur and noise in pixels and gray levels, vignetting 0..1, JPEG quality."""

    blur: float
    noise: float
    vignette: float
    quality: int


OPTICS = {
    "demo-desk": Optics(blur=0.6, noise=2.0, vignette=0.10, quality=92),
    "demo-garage": Optics(blur=0.9, noise=3.5, vignette=0.30, quality=88),
    "demo-garden": Optics(blur=0.5, noise=2.5, vignette=0.20, quality=90),
    "demo-yard": Optics(blur=1.1, noise=3.0, vignette=0.05, quality=85),
}


@dataclass(frozen=True)
class DemoFrame:
    """One frame. `pixels` is uint8 (120, 160); `quality` is the JPEG quality of its camera."""

    file: str
    label: Label
    device: str
    session: str
    split: Split
    captured_at: datetime
    pixels: NDArray[np.uint8]
    quality: int


def compose(count: int, seed: int) -> Iterator[DemoFrame]:
    """`count` frames, session after session, both classes in turn; equal arguments give equal pixels.

    Of an even count half are `person`, in every split and of every device.
    """
    made = 0
    pair = 0
    while made < count:
        device, split = DEVICES[pair % len(DEVICES)], _SPLIT_OF_PAIR[pair // len(DEVICES) % len(_SPLIT_OF_PAIR)]
        source = material()[split]
        rng = np.random.default_rng([VERSION, seed, pair])
        shown = _mixed(source.faces, rng)
        other = matched(_mixed(source.others, rng), shown)
        subjects: tuple[tuple[Label, NDArray[np.float32]], ...] = (("person", shown), ("no_person", other))
        length = min(int(rng.choice((1, 2, 3), p=(0.75, 0.20, 0.05))), max(1, (count - made) // 2))
        for number, (label, subject) in enumerate(subjects):
            session = f"demo{seed}-{2 * pair + number:05d}"
            taken = _START + timedelta(minutes=7 * (2 * pair + number))
            for index, pixels in enumerate(_session(source, device, subject, length, rng)):
                if made == count:
                    return
                yield DemoFrame(
                    f"{label}/{session}-{index}.jpg",
                    label,
                    device,
                    session,
                    split,
                    taken + timedelta(seconds=index),
                    pixels,
                    OPTICS[device].quality,
                )
                made += 1
        pair += 1


def _mixed(patches: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """A patch with up to 40 % of another one of the same kind and split."""
    one, two = rng.integers(len(patches), size=2)
    share = np.float32(rng.uniform(0.6, 1.0))
    return standardised((share * patches[one] + (1 - share) * patches[two])[None])[0]


def _session(
    source: Material, device: str, subject: NDArray[np.float32], frames: int, rng: np.random.Generator
) -> Iterator[NDArray[np.uint8]]:
    """Frames of one scene with `subject` in it. Nothing here knows the class."""
    optics = OPTICS[device]
    scene = _scene(source.scenes[device][int(rng.integers(len(source.scenes[device])))], rng)
    other = source.others[int(rng.integers(len(source.others)))]
    pastes = (_Paste.drawn(other, rng, (12.0, 20.0)), _Paste.drawn(subject, rng, (50.0, 57.0)))
    gamma, gain, tilt = rng.uniform(0.85, 1.2), rng.uniform(0.8, 1.1), rng.uniform(-0.15, 0.15, 2)
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    light = gain * (1 + tilt[0] * x + tilt[1] * y) * (1 - optics.vignette * (x**2 + y**2) / 2)
    for _ in range(frames):
        frame = scene
        for paste in pastes:
            frame = paste.moved(rng).onto(frame)
        yield _camera(255 * (np.clip(frame, 0, 255) / 255) ** gamma * light, optics, rng)


def _scene(region: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """A piece of a background photograph at 120 x 160, at most as sharp as the pasted patches can be."""
    import cv2

    width = int(rng.integers(66, 101))
    width = min(width, region.shape[1], region.shape[0] * WIDTH // HEIGHT)
    height = width * HEIGHT // WIDTH
    top, left = (int(rng.integers(0, a - b + 1)) for a, b in zip(region.shape, (height, width), strict=True))
    piece = region[top : top + height, left : left + width].astype(np.float32)
    if rng.random() < 0.5:
        piece = piece[:, ::-1]
    scene = cv2.resize(piece, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    scene = (scene - scene.mean()) / max(float(scene.std()), 1e-3) * rng.uniform(11, 21) + rng.uniform(85, 165)
    return np.asarray(scene, np.float32)


@dataclass(frozen=True)
class _Paste:
    """A patch with its place: gray levels (25, 25), centre and half height in pixels, angle in degrees."""

    patch: NDArray[np.float32]
    x: float
    y: float
    half: float
    aspect: float
    angle: float

    @classmethod
    def drawn(cls, patch: NDArray[np.float32], rng: np.random.Generator, halves: tuple[float, float]) -> "_Paste":
        half = rng.uniform(*halves)
        if rng.random() < 0.5:
            patch = patch[:, ::-1]
        return cls(
            patch * np.float32(rng.uniform(40, 60)) + np.float32(rng.uniform(85, 165)),
            rng.uniform(half, WIDTH - half),
            rng.uniform(half, HEIGHT - half),
            half,
            rng.uniform(0.95, 1.05),
            rng.uniform(-4, 4),
        )

    def moved(self, rng: np.random.Generator) -> "_Paste":
        """The same a moment later."""
        dx, dy = rng.normal(0, 1.5, 2)
        return _Paste(
            self.patch, self.x + dx, self.y + dy, self.half * rng.uniform(0.98, 1.02), self.aspect, self.angle
        )

    def onto(self, frame: NDArray[np.float32]) -> NDArray[np.float32]:
        """The frame with this patch blended in under a soft ellipse."""
        import cv2

        scale = 2 * self.half / PATCH
        turn = np.deg2rad(self.angle)
        linear = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.diag(
            [scale * self.aspect, scale]
        )
        middle = np.full(2, (PATCH - 1) / 2)
        matrix = np.column_stack([linear, np.array([self.x, self.y]) - linear @ middle])
        size = (WIDTH, HEIGHT)
        picture = cv2.warpAffine(self.patch, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        mask = cv2.warpAffine(ELLIPSE, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        return np.asarray(frame + (picture - frame) * mask, np.float32)


def _camera(frame: NDArray[np.floating], optics: Optics, rng: np.random.Generator) -> NDArray[np.uint8]:
    """What the camera makes of a scene: optical blur, sensor noise, 8 bits."""
    import cv2

    blurred = cv2.GaussianBlur(frame.astype(np.float32), (0, 0), optics.blur * rng.uniform(0.8, 1.4))
    noisy = blurred + rng.normal(0, optics.noise, blurred.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
