"""How fast the head phase trains, against plain Keras `fit` on in-memory arrays in the same run.

    uv run python -m benchmarks.training [--frames 1024] [--rounds 3] [--check]

Both sides train the same frozen network with the same batch size, loss and optimizer on the same frames, in turns, one
epoch each, and the medians are compared. Three peers, from the plainest on:

- no augmentation: `model.fit(pixels, labels)` on float32 arrays;
- geometry: the same with this project's Keras layers in front of the network, as the article has them;
- geometry and camera effects: `keras.utils.PyDataset` over the arrays with this project's camera effects, the layers
  in front of the network.

Ours reads memory-mapped shards through `tasks.training_data`. The last figure is the head on cached backbone features.
`--check` fails where ours is more than 10 % slower than a peer. Takes about three minutes on 2 cores.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from tasks.augment import geometry_layers, with_camera_effects
from tasks.batches import FrameSet
from tasks.model import build_model, feature_model, freeze_backbone, head_model
from tasks.parameters import TrainParameters
from tasks.progress import silent
from tasks.settings import PROJECT
from tasks.training_data import cache_features, feature_batches, train_batches

BATCH = 32
SEED_FRAMES = PROJECT.parent / "shared" / "data" / "seed"


class ArrayBatches(keras.utils.PyDataset):
    """In-memory arrays with camera effects, the way Keras' documentation shows it."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, share: float) -> None:
        super().__init__()
        self.pixels, self.labels, self.share = pixels.astype(np.uint8), labels, share
        self.order = np.arange(len(pixels))

    def __len__(self) -> int:
        return len(self.pixels) // BATCH

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        here = self.order[index * BATCH : (index + 1) * BATCH]
        seen = with_camera_effects(self.pixels[here], self.share, seed=0, step=index)
        return seen.astype(np.float32), self.labels[here]

    def on_epoch_end(self) -> None:
        np.random.default_rng(0).shuffle(self.order)


def load_frames(count: int, folder: Path) -> FrameSet:
    """Real frames where they are beside the checkout, else generated ones, as one shard."""
    files = sorted(SEED_FRAMES.glob("*/*/*.jpg"))
    if len(files) >= count:
        import cv2

        chosen = [files[i] for i in np.random.default_rng(0).permutation(len(files))[:count]]
        pixels = np.stack([cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in chosen])
        labels = np.array([path.parts[-3] == "person" for path in chosen], np.uint8)
    else:
        random = np.random.default_rng(0)
        pixels = random.integers(0, 256, (count, 120, 160)).astype(np.uint8)
        labels = (np.arange(count) % 2).astype(np.uint8)
    np.save(folder / "shard.npy", pixels)
    names, zeros = [str(i) for i in range(count)], np.zeros(count, np.int32)
    rows = np.arange(count, dtype=np.int32)
    return FrameSet((folder / "shard.npy",), zeros, rows, labels, names, names, names, names)


def compiled(parameters: TrainParameters, *, layers_in_front: bool) -> keras.Model:
    """The network as the head phase has it."""
    keras.utils.set_random_seed(0)
    network = build_model(parameters)
    freeze_backbone(network, 0)
    if layers_in_front:
        network = keras.Sequential([keras.Input(network.input_shape[1:]), *geometry_layers(), network])
    network.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy", metrics=["accuracy"], jit_compile=False)
    return network


class Rate(NamedTuple):
    """Of one side: frames a second by the clock; processor milliseconds a frame, which a busy machine changes less."""

    wall: float
    cpu: float


def in_turns(sides: dict[str, Callable[[], object]], frames: int, rounds: int) -> dict[str, Rate]:
    """Medians of each side, after a first epoch that traces the graphs."""
    rates: dict[str, list[Rate]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, epoch in sides.items():
            wall, cpu = time.perf_counter(), time.process_time()
            epoch()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if turn:
                rates[name].append(Rate(frames / wall, 1000 * cpu / frames))
    return {name: Rate(*map(statistics.median, zip(*values, strict=True))) for name, values in rates.items()}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--frames", type=int, default=1024)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--check", action="store_true")
    asked = options.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder, count = Path(name), asked.frames // BATCH * BATCH
        frames = load_frames(count, folder)
        pixels, labels = frames.gather()[..., None].astype(np.float32), frames.labels[:, None].astype(np.float32)
        steps = count // BATCH
        print(f"{count} frames of 160 x 120, batch {BATCH}, alpha 0.5, median of {asked.rounds} epochs in turns")
        print(f"{'head phase':30}{'plain Keras':>24}{'ours':>24}{'ratio':>8}")
        for title, augment, share in (
            ("no augmentation", False, 0.0),
            ("geometry", True, 0.0),
            ("geometry and camera effects", True, 0.3),
        ):
            parameters = TrainParameters(weights="none", batch_size=BATCH, augment=augment, camera_effects_share=share)
            plain, ours = compiled(parameters, layers_in_front=augment), compiled(parameters, layers_in_front=False)
            arrays = (
                {"x": ArrayBatches(pixels, labels, share)} if share else {"x": pixels, "y": labels, "batch_size": BATCH}
            )
            batches = train_batches(frames, parameters, {}, batches=range(steps))
            rates = in_turns(
                {
                    "plain": lambda plain=plain, arrays=arrays: plain.fit(**arrays, verbose=0),
                    "ours": lambda ours=ours, batches=batches: ours.fit(
                        batches, steps_per_epoch=steps, shuffle=False, verbose=0
                    ),
                },
                count,
                asked.rounds,
            )
            ratio = rates["ours"].wall / rates["plain"].wall
            failed |= ratio < 0.9
            shown = [f"{rates[side].wall:8.0f}/s {rates[side].cpu:5.2f} ms cpu" for side in ("plain", "ours")]
            print(f"{title:30}{shown[0]:>24}{shown[1]:>24}{ratio:>8.2f}", flush=True)
        parameters = TrainParameters(weights="none", batch_size=BATCH, augment=False)
        network = build_model(parameters)
        started = time.perf_counter()
        features = cache_features(
            feature_model(network), frames, parameters, folder / "f.npy", variant=None, progress=silent
        )
        caching = count / (time.perf_counter() - started)
        head = head_model(network)
        head.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy", metrics=["accuracy"], jit_compile=False)
        cached = feature_batches([features], frames.labels, parameters, {}, batches=range(steps))
        rate = in_turns(
            {"cached": lambda: head.fit(cached, steps_per_epoch=steps, shuffle=False, verbose=0)}, count, asked.rounds
        )
        print(
            f"head on cached features: {rate['cached'].wall:.0f} frames/s; computing them, once: {caching:.0f} frames/s"
        )
    if failed and asked.check:
        print("slower than plain Keras by more than 10 %", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
