"""Figures of a classifier, against scikit-learn. Touches no model."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from tasks.metrics import auc, model_metrics, roc_points


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("levels", [2, 7, 256, 10**9])
def test_every_figure_is_scikit_learns(seed: int, levels: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, 101)
    labels[:2] = 0, 1
    scores = generator.integers(0, levels, 101) / (levels - 1)  # few levels: many ties
    found = model_metrics(labels, scores, 0.5)
    said = scores >= 0.5
    assert found.samples == 101
    assert found.accuracy == pytest.approx(sklearn_metrics.accuracy_score(labels, said))
    assert found.precision == pytest.approx(sklearn_metrics.precision_score(labels, said))
    assert found.recall == pytest.approx(sklearn_metrics.recall_score(labels, said))
    assert found.auc == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores))
    assert [list(row) for row in found.confusion] == sklearn_metrics.confusion_matrix(labels, said).tolist()
    x, y = roc_points(labels, scores)
    assert sklearn_metrics.auc(x, y) == pytest.approx(found.auc)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)


def test_a_score_at_the_threshold_is_person() -> None:
    assert model_metrics([1, 0], [0.5, 0.499], 0.5).accuracy == 1.0


def test_figures_that_do_not_exist_are_none() -> None:
    only_no_person = model_metrics([0, 0], [0.1, 0.2], 0.5)
    assert (only_no_person.auc, only_no_person.recall, only_no_person.precision) == (None, None, None)
    assert only_no_person.confusion == ((2, 0), (0, 0))
    only_person = model_metrics([1, 1], [0.1, 0.9], 0.5)
    assert (only_person.auc, only_person.recall, only_person.precision) == (None, 0.5, 1.0)
    with pytest.raises(ValueError, match="both classes"):
        roc_points([1, 1], [0.1, 0.9])


def test_a_constant_score_has_an_auc_of_one_half() -> None:
    assert auc([0, 1, 1], [0.3, 0.3, 0.3]) == 0.5


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([], [], "not empty"),
        ([0, 1], [0.5], "equally long"),
        ([0, 2], [0.5, 0.5], "0 .no_person. or 1"),
        ([0, 1], [0.5, float("nan")], "sample 1: nan"),
        ([0, 1], [1.5, 0.5], "sample 0: 1.5"),
    ],
)
def test_input_that_has_no_figures_is_refused(labels: list[int], scores: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model_metrics(labels, scores, 0.5)
