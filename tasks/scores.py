"""What a model's outputs say: one score of person a frame."""

import numpy as np
from numpy.typing import NDArray

from tasks.interpreters import Outputs

PLAIN = "the output"


def scores(outputs: Outputs) -> tuple[NDArray[np.float64], str]:
    """Score of person, float64 (n,) in 0..1, and in words how it comes from the outputs.

    One output is the score, or its logit where its range (quantised) or a value (float) lies outside 0..1. Two outputs
    are [no_person, person]: probabilities where each pair sums to one, else logits for a softmax.
    """
    tensor, values = outputs.opened.output, outputs.values.astype(np.float64)
    if tensor.scale:
        values = (values - tensor.zero_point) * tensor.scale
    if values.shape[1] == 2:
        if (values > -0.01).all() and np.allclose(values.sum(axis=1), 1.0, atol=0.02):
            return np.clip(values[:, 1], 0.0, 1.0), "second of two probabilities"
        return _sigmoid(values[:, 1] - values[:, 0]), "softmax of two logits"
    if tensor.scale:
        limits = np.iinfo(tensor.dtype)
        ends = [(q - tensor.zero_point) * tensor.scale for q in (int(limits.min), int(limits.max))]
        is_probability = ends[0] >= -0.01 and ends[1] <= 1.01
    else:
        is_probability = bool(((values >= 0) & (values <= 1)).all())
    if is_probability:
        return np.clip(values[:, 0], 0.0, 1.0), PLAIN
    return _sigmoid(values[:, 0]), "sigmoid of the output, which is a logit"


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1.0 + np.tanh(x / 2)))
