"""Small labelled frame sets for tests of training and conversion: a bright blob on noise is the person."""

from pathlib import Path

import keras
import numpy as np

from tasks.batches import FrameSet


def frame_set(folder: Path, count: int, *, seed: int = 0, devices: tuple[str, ...] = ("cam-a", "cam-b")) -> FrameSet:
    """`count` frames in two shards below `folder`, classes alternating, devices in turn, four frames a session."""
    random = np.random.default_rng(seed)
    pixels = random.integers(40, 140, (count, 120, 160)).astype(np.uint8)
    y, x = np.mgrid[:120, :160]
    for index in range(1, count, 2):
        centre_y, centre_x, radius = random.integers(40, 80), random.integers(50, 110), random.integers(22, 36)
        pixels[index][(y - centre_y) ** 2 + (x - centre_x) ** 2 < radius**2] = random.integers(180, 256)
    folder.mkdir(parents=True, exist_ok=True)
    half = count // 2
    paths = (folder / f"{seed}-0.npy", folder / f"{seed}-1.npy")
    np.save(paths[0], pixels[:half])
    np.save(paths[1], pixels[half:])
    position = np.arange(count)
    return FrameSet(
        shards=paths,
        shard=(position >= half).astype(np.int32),
        row=np.where(position < half, position, position - half).astype(np.int32),
        labels=(position % 2).astype(np.uint8),
        pixels_sha256=[f"{seed:032x}{index:032x}" for index in position],
        keys=[f"frames/{seed}/{index}.pgm" for index in position],
        devices=[devices[index // 2 % len(devices)] for index in position],
        sessions=[f"s{seed}-{index // 4}" for index in position],
    )


def adapt_statistics(network: keras.Model, inputs: np.ndarray) -> keras.Model:
    """Lets the batch norms of random weights see `inputs`, as a training would: fresh statistics damp every signal to
    almost nothing, so that any two such networks would seem to agree."""
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5
    for _ in range(12):
        network(inputs, training=True)
    return network
