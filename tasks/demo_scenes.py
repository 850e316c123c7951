"""What the demo frames are made of: photographs that ship inside the scikit-image and scikit-learn wheels.

Every source belongs to one split for good, whatever the seed: a face, a non-face patch and a region of a background
photograph that occur in a training frame occur in no validation or test frame. Left out on purpose: `camera` and
`astronaut` (people, who would be in the wrong class as a background), `coins` (heads on them), drawings, and what
scikit-image fetches from the network.
"""

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import PipelineError
from tasks.lineage import SPLITS, Split

Gray = NDArray[np.uint8]
Patches = NDArray[np.float32]  # (n, 25, 25), 0..1

PATCH = 25  # side of an lfw_subset picture in pixels
# Made-up cameras and the photographs each of them looks at.
SCENES: dict[str, tuple[str, ...]] = {
    "demo-desk": ("coffee", "page", "chelsea", "text"),
    "demo-garage": ("motorcycle_left", "brick", "rocket"),
    "demo-garden": ("flower", "grass", "china"),
    "demo-yard": ("gravel", "china", "brick"),
}
DEVICES = tuple(SCENES)
# Share of a photograph's width, left to right, and of the faces. Test is larger than usual on purpose: the gate needs
# some 300 independent test sessions to bound a loss of one point.
_REGIONS: dict[Split, tuple[float, float]] = {"train": (0.0, 0.60), "val": (0.61, 0.78), "test": (0.79, 1.0)}
_SHARES: dict[Split, tuple[float, float]] = {"train": (0.0, 0.65), "val": (0.65, 0.80), "test": (0.80, 1.0)}
_WITH_A_PERSON = (125, 127, 130, 141, 142, 155, 171)  # lfw_subset "non-faces" that show part of one; seen by eye
_ROUNDS = 6
_CROPS = 400  # patches cut from each region of a photograph


@dataclass(frozen=True)
class Material:
    """Everything that frames of one split may be made of. Patches have mean 0 and deviation 1 under the ellipse."""

    faces: Patches
    others: Patches
    scenes: dict[str, tuple[Gray, ...]]  # device -> regions of photographs, gray, as large as they come


def _package_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise PipelineError(
            f"the demo frames need photographs from the package {package!r}, which is not installed",
            next_step="`make demo` installs it (dependency group `demo`); else `uv sync --group demo`",
        )
    return Path(spec.submodule_search_locations[0])


def photograph(name: str) -> Gray:
    """A photograph from a wheel, gray: uint8 (height, width). Raises `PipelineError` where it does not ship."""
    from PIL import Image

    folders = (_package_folder("skimage") / "data", _package_folder("sklearn") / "datasets" / "images")
    for path in (folder / f"{name}{ending}" for folder in folders for ending in (".png", ".jpg")):
        if path.exists():
            with Image.open(path) as picture:
                return np.asarray(picture.convert("RGB").convert("L"))
    raise PipelineError(
        f"photograph {name!r} ships with neither scikit-image nor scikit-learn here",
        next_step="install the versions of uv.lock (`uv sync`)",
    )


_Y, _X = np.mgrid[-1 : 1 : PATCH * 1j, -1 : 1 : PATCH * 1j]
_RADIUS = np.hypot(_X / 0.86, _Y)  # 1 where the ellipse ends
_PROFILE = np.linspace(0, 1, 6)
ELLIPSE = np.clip((1.0 - _RADIUS) / 0.25, 0, 1).astype(np.float32)  # how much of a patch is seen, 0..1 (25, 25)
_CYCLES = np.fft.fftfreq(PATCH) * PATCH
_RING = np.minimum(np.rint(np.hypot(_CYCLES[:, None], _CYCLES[None])), PATCH // 2).astype(int)


def standardised(patches: Patches) -> Patches:
    """Patches with mean 0 and deviation 1 under the ellipse: (n, 25, 25)."""
    weights = ELLIPSE / ELLIPSE.sum()
    centred = patches - (patches * weights).sum((1, 2), keepdims=True)
    deviation = np.sqrt((centred**2 * weights).sum((1, 2), keepdims=True))
    return np.asarray(centred / np.maximum(deviation, 1e-3), np.float32)


def matched(patch: NDArray[np.float32], model: NDArray[np.float32]) -> NDArray[np.float32]:
    """`patch` with the gray levels of `model` and, nearly, its energy at every scale: (25, 25).

    In turns, the Fourier amplitudes of each ring (1, 2, ... cycles a patch) are scaled by one factor, brightness and
    fine detail from centre to rim are made the model's, and the gray levels under the ellipse are replaced by the
    model's of the same rank. Directions and phases, so what it shows, stay the patch's own as far as that allows.
    (After the surrogates of Schreiber and Schmitz 1996, Physical Review Letters 77.)
    """
    import cv2

    seen = ELLIPSE > 0.3
    levels = np.sort(model[seen])
    target = _ring_energy(model)
    wanted = _profile(np.abs(model - cv2.GaussianBlur(model, (0, 0), 1.5)))
    made: NDArray[Any] = patch
    for _ in range(_ROUNDS):
        scale = np.sqrt(target / np.maximum(_ring_energy(made), 1e-9))
        made = np.fft.ifft2(np.fft.fft2(made) * np.minimum(scale, 8.0)[_RING]).real
        made += np.interp(_RADIUS, _PROFILE, _profile(model) - _profile(made))
        detail = made - cv2.GaussianBlur(made, (0, 0), 1.5)
        made += detail * (np.interp(_RADIUS, _PROFILE, wanted / np.maximum(_profile(np.abs(detail)), 1e-3)) - 1)
        ranks = np.argsort(np.argsort(made[seen], kind="stable"), kind="stable")
        made[seen] = levels[ranks]
    return np.asarray(np.clip(made, levels[0], levels[-1]), np.float32)


def _profile(patch: NDArray[Any]) -> NDArray[np.float64]:
    """Mean gray level at each of `_PROFILE`'s distances from the centre of the ellipse (0) to its rim (1)."""
    ring = np.rint(_RADIUS * (len(_PROFILE) - 1)).astype(int)
    return np.array([patch[ring == number].mean() for number in range(len(_PROFILE))])


def _ring_energy(patch: NDArray[Any]) -> NDArray[np.float64]:
    power = np.abs(np.fft.fft2(patch * ELLIPSE)) ** 2
    return np.bincount(_RING.ravel(), power.ravel()).astype(np.float64)


def _lfw() -> tuple[Patches, Patches]:
    path = _package_folder("skimage") / "data" / "lfw_subset.npy"
    if not path.exists():
        raise PipelineError(f"{path} is missing", next_step="install the scikit-image of uv.lock (`uv sync`)")
    pictures = np.load(path).astype(np.float32)
    keep = [
        index
        for index in range(100, 200)
        if index not in _WITH_A_PERSON
        and pictures[index].std() > 0.06
        and (pictures[index] < 0.02).mean() < 0.04  # LFW's alignment leaves black wedges
    ]
    return pictures[:100], pictures[keep]


def _cut(region: Gray, rng: np.random.Generator) -> Patches:
    """Square crops of a region at many scales, as coarse as the faces are."""
    import cv2

    found = []
    for _ in range(_CROPS):
        side = int(rng.integers(PATCH, min(region.shape) + 1))
        top, left = (int(rng.integers(0, extent - side + 1)) for extent in region.shape)
        crop = region[top : top + side, left : left + side]
        patch = cv2.resize(crop, (PATCH, PATCH), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        if patch.std() > 0.06:
            found.append(patch)
    return np.stack(found) if found else np.empty((0, PATCH, PATCH), np.float32)


def _share(split: Split, count: int, shares: dict[Split, tuple[float, float]]) -> slice:
    low, high = shares[split]
    return slice(round(low * count), round(high * count))


@lru_cache(maxsize=1)
def material() -> dict[Split, Material]:
    """The sources of all splits, disjoint. Reads installed packages only, never the network."""
    faces, others = _lfw()
    faces = faces[np.random.default_rng(1).permutation(len(faces))]
    others = others[np.random.default_rng(2).permutation(len(others))]
    names = sorted({name for scenes in SCENES.values() for name in scenes})
    photographs = {name: photograph(name) for name in names}
    result: dict[Split, Material] = {}
    for number, split in enumerate(SPLITS):
        regions = {name: photo[:, _share(split, photo.shape[1], _REGIONS)] for name, photo in photographs.items()}
        cuts = [_cut(regions[name], np.random.default_rng([3, number, i])) for i, name in enumerate(names)]
        result[split] = Material(
            standardised(faces[_share(split, len(faces), _SHARES)]),
            standardised(np.concatenate([others[_share(split, len(others), _SHARES)], *cuts])),
            {device: tuple(regions[name] for name in scenes) for device, scenes in SCENES.items()},
        )
    return result
