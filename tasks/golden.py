"""Golden frames: what host kernels, reference kernels and the emulated firmware must answer with the same bytes.

A pipeline draws them from the test split (`choose_golden`): the hardest frames, where one step of a score changes the
answer, random ones, and synthetic pictures at the ends of the range. Whoever has only a model takes synthetic pictures
(`synthetic_golden`) or any folder of images (`golden_from_folder`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.batches import FrameSet
from tasks.errors import PipelineError
from tasks.frames import HEIGHT, WIDTH, FrameRefused, decode, read_file
from tasks.labelled_folder import existing_folder, readable, shown, walk
from tasks.lineage import CLASSES

if TYPE_CHECKING:  # at run time it would load boto3, which nobody needs who has only a model
    from tasks.thumbnails import Scores

LEAST = 5
_ALL_FIVE = 10  # from so many golden frames on, gradient and checkerboard leave enough room for frames of the split
Pixels = NDArray[np.uint8]


class GoldenImpossible(PipelineError):
    """There are no golden frames of this kind, or not so many."""


@dataclass(frozen=True)
class RefusedFile:
    """A file of a folder that is no frame. `reason` is a key of tasks.frame_formats.REASONS."""

    file: str
    reason: str
    message: str


@dataclass(frozen=True)
class GoldenFrames:
    """Frames, and where they come from.

    `pixels`: uint8 (n, 120, 160), 0..255. `names` are unique: `test/<key of the frame>`, `synthetic/black`,
    `folder/<file>`. `kinds`: hardest, random person, random no_person, folder, or what a synthetic picture shows.
    """

    pixels: Pixels
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    refused: tuple[RefusedFile, ...] = ()  # only of a folder

    def __len__(self) -> int:
        return len(self.names)


def choose_golden(frames: FrameSet, scores: "Scores", threshold: float, count: int, seed: int = 0) -> GoldenFrames:
    """`count` golden frames: black, white, noise, from 10 on a gradient and a checkerboard, the rest of `frames`.

    `frames` is the test split, `scores` those of a report on all of it or a part (matched by key), `threshold` 0..1 the
    report's. Half of the rest, rounded up, are the hardest: first where FP32 and INT8 answer differently, then by how
    near INT8's score is to the threshold, then FP32's. The others are random, classes in turn. Two or more hardest or
    random frames hold both classes as far as there are enough. No frame is there twice, by its pixels, and the choice
    depends on hashes and not on the order of `frames`.

    Raises `GoldenImpossible` for a count below 5 or above what is there, for a class that is missing, and for scores of
    other frames.
    """
    _refuse_too_few(count)
    synthetic = _synthetic(5 if count >= _ALL_FIVE else 3, seed)
    wanted = count - len(synthetic)
    ranked = _by_hardness(frames, scores, threshold)
    missing = [name for label, name in enumerate(CLASSES) if not (frames.labels[ranked] == label).any()]
    if len(ranked) < wanted or missing:
        most = len(ranked) + (5 if len(ranked) + 5 >= _ALL_FIVE else 3)
        raise GoldenImpossible(
            f"{count} golden frames take {wanted} different test frames of both classes with a score; there are "
            f"{len(ranked)}{', none labelled ' + ' or '.join(missing) if missing else ''}",
            next_step="import more test sessions" + ("" if missing else f", or ask for {most} at most"),
        )
    hardest = _with_both_classes(ranked, frames.labels, wanted - wanted // 2)
    random = _drawn(frames, sorted(set(ranked) - set(hardest)), hardest, wanted // 2, seed)
    chosen = np.array(hardest + random)
    return GoldenFrames(
        np.concatenate([synthetic.pixels, frames.gather(chosen)]),
        (*synthetic.names, *(f"test/{frames.keys[i]}" for i in chosen)),
        (*synthetic.kinds, *("hardest" for _ in hardest), *(f"random {CLASSES[frames.labels[i]]}" for i in random)),
    )


def synthetic_golden(count: int, seed: int = 0) -> GoldenFrames:
    """`count` pictures that need no data set: black, white, noise, gradient, checkerboard, then scenes in turn.

    Scenes are blobs, textures of low frequency, slanted gradients and dim noise. The pictures of a small count are the
    first ones of a larger one with the same seed. Raises `GoldenImpossible` for a count below 5.
    """
    _refuse_too_few(count)
    return _synthetic(count, seed)


def golden_from_folder(folder: Path) -> GoldenFrames:
    """All images below a folder, in the order of their names; labels are not needed.

    They become frames as everywhere (tasks/frames.py), black and white ones too; files that cannot are listed in
    `refused`. Raises `FolderRefused` where there is no such folder, `GoldenImpossible` where no file in it is a frame.
    """
    existing_folder(folder)
    pixels: list[Pixels] = []
    names: list[str] = []
    refused: list[RefusedFile] = []
    for path in walk(folder):
        name = readable(path.relative_to(folder).as_posix())
        try:
            pixels.append(decode(read_file(path), path.name, any_light=True).pixels)
            names.append(f"folder/{name}")
        except FrameRefused as error:
            refused.append(RefusedFile(name, error.reason, error.message))
    if not names:
        first = f"; {refused[0].file}: {refused[0].message}" if refused else ""
        raise GoldenImpossible(
            f"no golden frame among {len(refused)} files of {shown(folder)}{first}",
            next_step="give a folder with JPEG, PNG, PGM or raw 160x120 gray files",
        )
    return GoldenFrames(np.stack(pixels), tuple(names), ("folder",) * len(names), tuple(refused))


def _refuse_too_few(count: int) -> None:
    if count < LEAST:
        raise GoldenImpossible(
            f"{count} golden frames are too few: black, white, noise and some pictures take {LEAST} at least",
            next_step=f"ask for {LEAST} or more; 32 show most faults",
        )


def _by_hardness(frames: FrameSet, scores: "Scores", threshold: float) -> list[int]:
    """Positions in `frames` of those with a score, the hardest first, of equal pixels the hardest only."""
    position = {key: index for index, key in enumerate(frames.keys)}
    unknown = [key for key in scores.keys if key not in position]
    if unknown:
        raise GoldenImpossible(
            f"{len(unknown)} of {len(scores)} scored frames are not among the {len(frames)} given, e.g. {unknown[0]}",
            next_step="give the test split of the data set that the report is about",
        )
    int8, fp32 = np.asarray(scores.int8), np.asarray(scores.fp32)
    same_answer = (int8 >= threshold) == (fp32 >= threshold)
    hard = list(zip(same_answer, np.abs(int8 - threshold), np.abs(fp32 - threshold), strict=True))
    positions = [position[key] for key in scores.keys]
    order = sorted(range(len(positions)), key=lambda i: (*hard[i], *_identity(frames, positions[i])))
    by_pixels: dict[str, int] = {}
    for i in order:
        by_pixels.setdefault(frames.pixels_sha256[positions[i]], positions[i])
    return list(by_pixels.values())


def _with_both_classes(ranked: list[int], labels: NDArray[np.uint8], count: int) -> list[int]:
    """The first `count`; where all are of one class and more than one, the last gives way to the other's first."""
    chosen = ranked[:count]
    others = [i for i in ranked if labels[i] != labels[chosen[0]]]
    if count > 1 and others and all(labels[i] == labels[chosen[0]] for i in chosen):
        chosen[-1] = others[0]
    return chosen


def _drawn(frames: FrameSet, rest: Sequence[int], hardest: Sequence[int], count: int, seed: int) -> list[int]:
    """`count` of `rest` at random, classes in turn, first the one of which `hardest` has fewer."""
    generator = np.random.default_rng(seed)
    draws: list[list[int]] = []
    for label in range(len(CLASSES)):
        of_class = sorted((i for i in rest if frames.labels[i] == label), key=lambda i: _identity(frames, i))
        draws.append([of_class[i] for i in generator.permutation(len(of_class))])
    turn = int(2 * frames.labels[hardest].sum() <= len(hardest))  # 1, person, where no more than half of them are
    chosen: list[int] = []
    while len(chosen) < count:
        draw = draws[turn] or draws[1 - turn]
        chosen.append(draw.pop())
        turn = 1 - turn
    return chosen


def _identity(frames: FrameSet, index: int) -> tuple[str, str]:
    return frames.pixels_sha256[index], frames.keys[index]


def _synthetic(count: int, seed: int) -> GoldenFrames:
    kinds = [*_FIRST, *(_SCENES[i % len(_SCENES)] for i in range(max(count - len(_FIRST), 0)))][:count]
    names = (
        f"synthetic/{kind.replace(' ', '-')}" + (f"-{i}" if i >= len(_FIRST) else "") for i, kind in enumerate(kinds)
    )
    pixels = [_PICTURES[kind](np.random.default_rng((seed, i))) for i, kind in enumerate(kinds)]
    return GoldenFrames(np.stack(pixels), tuple(names), tuple(kinds))


_Y, _X = np.mgrid[:HEIGHT, :WIDTH]


def _flat(level: int) -> Callable[[np.random.Generator], Pixels]:
    return lambda generator: np.full((HEIGHT, WIDTH), level, np.uint8)


def _noise(generator: np.random.Generator) -> Pixels:
    return generator.integers(0, 256, (HEIGHT, WIDTH), np.uint8)


def _gradient(generator: np.random.Generator) -> Pixels:
    """Black at the left edge, white at the right one."""
    return (_X * 255 // (WIDTH - 1)).astype(np.uint8)


def _checkerboard(generator: np.random.Generator) -> Pixels:
    """Black and white squares of 8 pixels."""
    return ((_X // 8 + _Y // 8) % 2 * 255).astype(np.uint8)


def _blobs(generator: np.random.Generator) -> Pixels:
    """Three to eight flat ellipses on a flat background."""
    picture = np.full((HEIGHT, WIDTH), generator.integers(0, 256), np.uint8)
    for _ in range(generator.integers(3, 9)):
        y, x = generator.integers(0, HEIGHT), generator.integers(0, WIDTH)
        height, width = generator.integers(6, 50, 2)
        inside = ((_Y - y) * width) ** 2 + ((_X - x) * height) ** 2 < (height * width) ** 2
        picture[inside] = generator.integers(0, 256)
    return picture


def _texture(generator: np.random.Generator) -> Pixels:
    """Random levels on a coarse grid, linear in between, stretched to 0..255."""
    rows, columns = generator.integers(3, 10, 2)
    grid = generator.random((rows, columns))
    along = np.stack([np.interp(np.linspace(0, columns - 1, WIDTH), np.arange(columns), row) for row in grid])
    both = np.stack([np.interp(np.linspace(0, rows - 1, HEIGHT), np.arange(rows), column) for column in along.T], 1)
    return np.rint((both - both.min()) / (both.max() - both.min()) * 255).astype(np.uint8)


def _slanted_gradient(generator: np.random.Generator) -> Pixels:
    """From one random level to another in a random direction."""
    angle = generator.uniform(0, 2 * np.pi)
    along = _X * np.cos(angle) + _Y * np.sin(angle)
    low, high = generator.uniform(0, 255, 2)
    return np.rint(low + (along - along.min()) / (along.max() - along.min()) * (high - low)).astype(np.uint8)


def _dim_noise(generator: np.random.Generator) -> Pixels:
    """A few levels of noise about a dark one: a room with the light off."""
    levels = generator.normal(generator.uniform(3, 40), generator.uniform(1, 6), (HEIGHT, WIDTH))
    return np.rint(np.clip(levels, 0, 255)).astype(np.uint8)


_FIRST = ("black", "white", "noise", "gradient", "checkerboard")
_SCENES = ("blobs", "texture", "slanted gradient", "dim noise")
_PICTURES: dict[str, Callable[[np.random.Generator], Pixels]] = {
    "black": _flat(0),
    "white": _flat(255),
    "noise": _noise,
    "gradient": _gradient,
    "checkerboard": _checkerboard,
    "blobs": _blobs,
    "texture": _texture,
    "slanted gradient": _slanted_gradient,
    "dim noise": _dim_noise,
}
