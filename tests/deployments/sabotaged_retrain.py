"""`f2f retrain` with a conversion that clips activation ranges to a sixteenth: what a bad calibration does.

Run as `python -m tests.deployments.sabotaged_retrain [NAME=VALUE ...]`; everything else is the program as it is.
"""

import sys

from tasks import quantize
from tasks.layer_names import layer_names
from tasks.tflite_file import read_model
from tests.tasks.clipped_model import clip_activations, clippable, spread

TENSORS, DIVISOR = 6, 16  # far beyond what the tiny model of the tests forgives


def sabotaged_layers(tflite: bytes) -> set[str]:
    """Names of the layers whose outputs were clipped."""
    graph = read_model(tflite).subgraphs[0]
    chosen = set(spread(clippable(tflite), TENSORS))
    names = layer_names(graph)
    return {name for name, op in zip(names, graph.operators, strict=True) if op.outputs[0] in chosen}


def main() -> None:
    """Replaces the converter, then is the command."""
    from deployments.cli import main as f2f

    real = quantize.convert

    def clipped(*arguments: object, **named: object) -> bytes:
        return clip_activations(real(*arguments, **named), TENSORS, DIVISOR)  # type: ignore[arg-type]

    quantize.convert = clipped  # type: ignore[assignment]
    sys.argv = ["f2f", "retrain", *sys.argv[1:]]
    f2f()


if __name__ == "__main__":
    main()
