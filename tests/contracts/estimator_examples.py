"""What the estimator contract needs of each estimator: settings that train in a moment, and parameters that must be refused.

Whoever registers an estimator adds an entry here under its name; an estimator without one fails the suite.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class EstimatorExample:
    """How the suite treats one estimator.

    Parameters
    ----------
    quick : parameters with which it trains in about a second on 300 rows.
    bad : parameters that `fit` must refuse with a message that says what was got.
    exempt : checks of scikit-learn that do not apply, each with its reason.
    missing : whether it learns from missing values; otherwise they must be refused by the name of the column.
    seeded : whether another `random_state` gives another artifact.
    measures_gap : whether `fit` measures a gap on 300 rows.
    """

    quick: dict[str, Any]
    bad: tuple[dict[str, Any], ...]
    exempt: dict[str, str] = field(default_factory=dict)
    missing: bool = True
    seeded: bool = True
    measures_gap: bool = True


DRAWN = (
    "which rows are held out is drawn, so that a weight of two is not the same draw as a row given twice; "
    "scikit-learn's own forests are exempt too"
)
FOREST = EstimatorExample(
    quick={"n_estimators": 2, "max_depth": 2, "max_iter": 20},
    bad=(
        {"n_estimators": 0}, {"max_depth": 0}, {"split": "diagonal"}, {"temperature": (0.4, 0.0)}, {"metric": "luck"},
        {"budget": "some"}, {"learning_rate": 0.0}, {"validation_fraction": 1.5}, {"time_budget": -1},
    ),
    exempt={
        "check_sample_weight_equivalence_on_dense_data": DRAWN,
        "check_sample_weight_equivalence_on_sparse_data": DRAWN,
    },
)  # fmt: skip
IN_BATCHES = "rows are learned in batches, in their order, so that a row given twice moves those after it to other batches"

NEIGHBOURHOOD = EstimatorExample(
    quick={"dim": 8, "max_iter": 4, "device": "cpu"},
    bad=(
        {"dim": 0}, {"n_blocks": -1}, {"embedding": "wavy"}, {"encoder": "best"}, {"dropout": 1.0}, {"sample_rate": 0.0},
        {"validation_fraction": 0.9}, {"temperature": 0.0}, {"learning_rate": -1.0}, {"weight_decay": -1.0}, {"batch_size": 2.5},
        {"max_iter": 0}, {"device": "abacus"},
    ),
    exempt={
        "check_sample_weight_equivalence_on_dense_data": DRAWN,
        "check_sample_weight_equivalence_on_sparse_data": DRAWN,
    },
)  # fmt: skip

GATES = EstimatorExample(
    quick={"layer_sizes": (96, 96), "max_iter": 150},
    bad=(
        {"layer_sizes": ()}, {"layer_sizes": (8, 0)}, {"parametrization": "walsh"}, {"response": "cosine"}, {"init": "zero"},
        {"connections": "dense"}, {"fan_in": 7}, {"fan_in": 3, "parametrization": "softmax"}, {"n_thresholds": 0},
        {"thresholds": "random"}, {"temperature": (1.0, 0.0)}, {"temperature": 1.0}, {"learning_rate": 0.0}, {"batch_size": 2.5},
        {"max_iter": 0}, {"validation_fraction": 0.9}, {"device": "abacus"},
    ),
    exempt={
        "check_sample_weight_equivalence_on_dense_data": DRAWN,
        "check_sample_weight_equivalence_on_sparse_data": DRAWN,
    },
)  # fmt: skip

MATCHING = ({"n_bins": 0}, {"binning": "log"})

EVOLVED = EstimatorExample(
    quick={"population": 6, "generations": 3},
    bad=(
        {"max_depth": 0}, {"max_depth": 2.5}, {"population": 1}, {"generations": -1}, {"metric": "luck"}, {"proposer": "oracle"},
        {"proposer": 7}, {"validation_fraction": 1.0}, {"time_budget": 0}, {"feature_descriptions": {"no column": "text"}},
    ),
    exempt={
        "check_sample_weight_equivalence_on_dense_data": DRAWN,
        "check_sample_weight_equivalence_on_sparse_data": DRAWN,
    },
    measures_gap=False,
)  # fmt: skip

EXAMPLES = {
    "BinaryMLPClassifier": EstimatorExample(
        quick={"hidden_layer_sizes": (32,), "max_iter": 60},
        bad=(
            {"hidden_layer_sizes": (0,)}, {"hidden_layer_sizes": 8}, {"activation": "tanh"}, {"binary_input": 2}, {"surrogate": "sine"},
            {"sampling": "dice"}, {"scale": "max"}, {"loss": "hinge"}, {"max_iter": 0}, {"batch_size": 1}, {"learning_rate": 0.0},
            {"validation_fraction": 0.9},
        ),
        exempt={
            "check_sample_weight_equivalence_on_dense_data": IN_BATCHES,
            "check_sample_weight_equivalence_on_sparse_data": IN_BATCHES,
        },
        missing=False,
    ),
    "EvolvedTreeClassifier": EVOLVED,
    "EvolvedTreeRegressor": EVOLVED,
    "ID3Tree": EstimatorExample(
        {"n_bins": 2}, (*MATCHING, {"max_depth": 0}), seeded=False, measures_gap=False
    ),
    "MultiPathTreePredictor": EstimatorExample(
        {}, ({"combine": "worst"}, {"decay": 2.0}, {"max_mismatches": -1}), seeded=False, measures_gap=False
    ),
    "NearestNeighbourhoodClassifier": EstimatorExample(
        {},
        (*MATCHING, {"tie_break_depth": -1}, {"attribute_weights": [-1.0]}),
        seeded=False,
        measures_gap=False,
    ),
    "NearestNeighbourhoodRegressor": EstimatorExample({}, MATCHING, seeded=False, measures_gap=False),
    "MetaTreeClassifier": EstimatorExample(
        quick={},
        bad=({"max_depth": 0}, {"n_estimators": 0}, {"context_size": 1}, {"checkpoint": 7}),
        exempt={
            "check_sample_weight_equivalence_on_dense_data": "a row given twice stands twice among the quantiles that may be cuts",
            "check_sample_weight_equivalence_on_sparse_data": "a row given twice stands twice among the quantiles that may be cuts",
        },
        missing=False,
        seeded=False,
    ),
    "OptimalTreeEnsemble": EstimatorExample(
        quick={"time_limit": None, "node_limit": 1000},
        bad=({"n_estimators": 2}, {"max_cuts": -1}, {"max_errors": -1}, {"time_limit": 0}, {"node_limit": 0}),
        missing=False,
        seeded=False,
        measures_gap=False,
    ),
    "DistilledTreeClassifier": EstimatorExample(
        quick={"max_depth": 2, "max_iter": 20},
        bad=(
            {"max_depth": 0},
            {"penalty": -1.0},
            {"penalty_decay": 0.0},
            {"temperature_teacher": 0.0},
            {"mix": 2.0},
            {"transfer_rows": "all"},
            {"inference": "luck"},
            {"loss": "hinge"},
            {"temperature": 0.0},
            {"max_iter": 0},
            {"batch_size": 0},
            {"learning_rate": 0.0},
            {"teacher": 7},
        ),
        exempt={
            "check_sample_weight_equivalence_on_dense_data": "batches are drawn, so that a row given twice is not a weight of two",
            "check_sample_weight_equivalence_on_sparse_data": "batches are drawn, so that a row given twice is not a weight of two",
        },
        missing=False,
    ),
    "LogicGateClassifier": EstimatorExample(GATES.quick, (*GATES.bad, {"tau": 0.0}, {"tau": "best"}), GATES.exempt),
    "LogicGateRegressor": GATES,
    "NeighbourhoodClassifier": NEIGHBOURHOOD,
    "NeighbourhoodRegressor": NEIGHBOURHOOD,
    "SoftForestClassifier": FOREST,
    "SoftForestRegressor": FOREST,
    "MemoryForestClassifier": EstimatorExample(
        quick={"n_estimators": 4, "max_depth": 3, "max_iter": 15},
        bad=(
            {"n_estimators": 0}, {"max_depth": 13}, {"n_slots": 0}, {"n_slots": 4, "n_read": 5}, {"n_read": 2}, {"max_iter": 0},
            {"batch_size": 1.5}, {"learning_rate": 0.0}, {"temperature": (1.0, 0.0)},
        ),
        exempt={
            "check_sample_weight_equivalence_on_dense_data": IN_BATCHES,
            "check_sample_weight_equivalence_on_sparse_data": IN_BATCHES,
        },
    ),
    "StreamingExpertClassifier": EstimatorExample(
        quick={"n_experts": 16},
        bad=(
            {"n_experts": 0}, {"n_neighbours": 0}, {"n_neighbours": 17}, {"key_dim": 0}, {"tanh_scale": 0.0}, {"learning_rate": -1.0},
            {"weight_decay": -1.0}, {"temperature": 0.0}, {"batch_size": 1.5}, {"encoder": "words"},
        ),
        exempt={
            "check_sample_weight_equivalence_on_dense_data": IN_BATCHES,
            "check_sample_weight_equivalence_on_sparse_data": IN_BATCHES,
        },
        missing=False,
    ),
}  # fmt: skip
