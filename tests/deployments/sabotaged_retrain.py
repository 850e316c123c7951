"""`f2f retrain` with a conversion that clips two activation ranges to a quarter: what a bad calibration does.

Run as `python -m tests.deployments.sabotaged_retrain [NAME=VALUE ...]`; everything else is the program as it is.
"""

import sys

from tasks import quantize
from tests.tasks.clipped_model import clip_activations

TENSORS = 2


def main() -> None:
    """Replaces the converter, then is the command."""
    from deployments.cli import main as f2f

    real = quantize.convert

    def clipped(*arguments: object, **named: object) -> bytes:
        return clip_activations(real(*arguments, **named), TENSORS)  # type: ignore[arg-type]

    quantize.convert = clipped  # type: ignore[assignment]
    sys.argv = ["f2f", "retrain", *sys.argv[1:]]
    f2f()


if __name__ == "__main__":
    main()
