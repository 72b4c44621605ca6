"""Another decision threshold than 1/2, folded into a forest so that no runtime or export needs to know. Never imports torch."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from hardgrad.core.errors import ParameterError
from hardgrad.trees.forest import Forest


def with_threshold(forest: Forest, threshold: float) -> Forest:
    """Return the same trees with a base from which they decide for the second class where its probability was above `threshold`.

    Every export and runtime then decides at the new threshold, and the model is not a byte larger. Its probabilities move with it: they
    are those of a population in which the odds of the second class are (1 - threshold) / threshold times what they were, as with a class
    weight, so that 1/2 is again where the decision changes.

    Parameters
    ----------
    forest : of two classes, with the link "sigmoid" or "softmax".
    threshold : between 0 and 1; of a cost matrix, cost of a false positive / (that + cost of a false negative).

    Raises
    ------
    ParameterError : a threshold that is not between 0 and 1, or a forest without log-odds of two classes.

    Examples
    --------
    >>> from hardgrad.trees.forest_build import forest_from_trees
    >>> tree = {"feature": 0, "threshold": 1.5, "left": {"value": -1.0}, "right": {"value": 1.0}}
    >>> forest = forest_from_trees([tree], ["age"], link="sigmoid", task="classification", classes=("no", "yes"))
    >>> with_threshold(forest, 0.2).predict(np.array([[1.0], [2.0]])).tolist()  # the probabilities were 0.27 and 0.73
    ['yes', 'yes']

    Source: Elkan, 2001, The Foundations of Cost-Sensitive Learning.
    """
    if not 0.0 < threshold < 1.0:
        raise ParameterError(
            f"with_threshold() got threshold={threshold!r}; expected a number between 0 and 1."
        )
    return shifted(forest, math.log(threshold) - math.log1p(-threshold))


def shifted(forest: Forest, cut: float) -> Forest:
    """Return the same trees, deciding for the second class where its log-odds were above `cut`."""
    if len(forest.classes) != 2 or forest.link == "identity":
        raise ParameterError(
            f"a threshold is for forests with log-odds of two classes; got {len(forest.classes)} classes and link {forest.link!r}."
        )
    base = np.array(forest.base)
    base[-1] -= cut * (forest.n_trees if forest.aggregation == "mean" else 1)
    if forest.packing is not None:  # whose base is a float32
        base = base.astype(np.float32).astype(np.float64)
    return replace(forest, base=base)
