"""Row 69: trees by evolution with semantic operators against CART and plain genetic programming, with real and with shuffled names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hardgrad.reproductions.registry import Measured, Scale, reproduction

SEEDS = {"smoke": (0,), "full": (0, 1, 2)}
GENERATIONS = {"smoke": 3, "full": 15}
TABLES = {
    "smoke": ("breast_cancer",),
    "full": ("breast_cancer", "keel:german", "keel:pima", "keel:heart", "keel:saheart", "keel:bupa"),
}
TEST_SHARE, VALIDATION_SHARE = (
    0.4,
    2 / 3,
)  # 20 % of all rows to learn from, 40 % to choose by, 40 % to test on
LEAST_ROWS = (1, 2, 4, 8, 16, 32)


@reproduction(
    row=69,
    slug="evolved-trees",
    title="Decision Tree Induction Through LLMs via Semantically-Aware Evolution",
    venue="Liu, Huynh and van der Schaar, ICLR 2025",
    claim=(
        "test balanced accuracy at depth 3, from the repository's result files: breast 0.946 (CART 0.941, GATree 0.942), compas 0.652 "
        "(0.655, 0.647), credit-g 0.679 (0.668, 0.648), diabetes 0.713 (0.710, 0.681), heart-statlog 0.736 (0.734, 0.669), liver 0.672 "
        "(0.646, 0.626), vehicle 0.937 (0.903, 0.922), with a language model; here its offline stand-in, on six small tables"
    ),
)
def evolved_trees(scale: Scale) -> Sequence[Measured]:
    """Evolve with semantic operators, with shuffled names, and at random, at equal evaluations; and through a scripted endpoint."""
    smoke = scale == "smoke"
    scores = _Scores(GENERATIONS[scale])
    for table in TABLES[scale]:
        task = _Table.load(table)
        for seed in SEEDS[scale]:
            scores.measure(task, seed)
    mean = scores.mean
    return [
        *(Measured.reported(f"test balanced accuracy, {name}, mean", mean(name)) for name in scores.test),
        *(
            Measured.reported(f"test balanced accuracy, semantic, {table}", scores.mean("semantic", table))
            for table in TABLES[scale]
        ),
        Measured.at_least(
            "points over CART of tuned min_samples_leaf", 100 * (mean("semantic") - mean("CART")), -5 if smoke else 0.5
        ),
        Measured.reported(
            "points over CART of tuned min_samples_leaf, classes balanced", 100 * (mean("semantic") - mean("CART balanced"))
        ),
        Measured.at_least(
            "points over random operators at equal evaluations", 100 * (mean("semantic") - mean("random")), -5 if smoke else 0
        ),
        Measured.at_most(
            "generations to random's final training fitness, by random's own", scores.generations_ratio("semantic"), 99 if smoke else 0.6
        ),
        Measured.reported("the same with shuffled names", scores.generations_ratio("shuffled names")),
        Measured.reported(
            "points of real names over shuffled ones", 100 * (mean("semantic") - mean("shuffled names"))
        ),
        *_through_an_endpoint(),
    ]  # fmt: skip


@dataclass
class _Table:
    """A table with names that mean something."""

    name: str
    X: Any
    y: Any
    question: str
    descriptions: dict[str, str]

    @classmethod
    def load(cls, name: str) -> _Table:
        from hardgrad.reproductions.evolved_trees_names import DESCRIBED
        from hardgrad.tabular import load_table

        data, (question, descriptions) = load_table(name), DESCRIBED[name]
        X = data.features
        if descriptions:
            X = X.rename_columns(list(descriptions))
        return cls(name, X, data.table[data.target].to_numpy(zero_copy_only=False), question, descriptions)

    def shuffled(self, seed: int) -> _Table:
        """The same columns, each under the name and the description of another."""
        names = list(self.X.column_names)
        order = np.random.default_rng([seed, 69]).permutation(len(names))
        renamed = self.X.rename_columns([names[k] for k in order])
        return _Table(self.name, renamed, self.y, self.question, self.descriptions)


@dataclass
class _Scores:
    """Test scores and histories by method, a run an entry."""

    generations: int
    test: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    histories: dict[str, list[list[float]]] = field(default_factory=dict)

    def measure(self, task: _Table, seed: int) -> None:
        """Run all methods on one split."""
        from sklearn.metrics import balanced_accuracy_score
        from sklearn.model_selection import train_test_split

        seen, tested = train_test_split(
            np.arange(len(task.y)), test_size=TEST_SHARE, random_state=seed, stratify=task.y
        )
        runs = {
            "semantic": (task, "semantic"),
            "shuffled names": (task.shuffled(seed), "semantic"),
            "random": (task, "random"),
        }
        for name, (table, proposer) in runs.items():
            model = self._evolved(table, proposer, seen, seed)
            found = balanced_accuracy_score(task.y[tested], model.predict(table.X.take(tested)))
            self.test.setdefault(name, []).append((task.name, float(found)))
            self.histories.setdefault(name, []).append([entry["best"] for entry in model.history_])
        X = model.schema_.encode(task.X)
        for name, weight in (("CART", None), ("CART balanced", "balanced")):
            tree = _cart(X[seen], task.y[seen], model.held_out_, weight)
            found = balanced_accuracy_score(task.y[tested], tree.predict(X[tested]))
            self.test.setdefault(name, []).append((task.name, float(found)))

    def _evolved(self, task: _Table, proposer: str, rows: Any, seed: int) -> Any:
        from hardgrad.trees import EvolvedTreeClassifier

        model = EvolvedTreeClassifier(
            max_depth=3, population=25, generations=self.generations, proposer=proposer, task_description=task.question,
            feature_descriptions=task.descriptions, validation_fraction=VALIDATION_SHARE, random_state=seed,
        )  # fmt: skip
        return model.fit(task.X.take(rows), task.y[rows])

    def mean(self, method: str, table: str | None = None) -> float:
        """Mean test score of a method, over all runs or those on one table."""
        return float(np.mean([value for name, value in self.test[method] if table in (None, name)]))

    def generations_ratio(self, method: str) -> float:
        """Generations until the final fitness of random operators, added over the runs, by those that random itself took.

        A run that never reaches it counts one generation more than it had.
        """
        took = [0, 0]
        for random, other in zip(self.histories["random"], self.histories[method], strict=True):
            for place, history in enumerate((other, random)):
                reached = [number for number, best in enumerate(history) if best >= random[-1]]
                took[place] += reached[0] if reached else self.generations + 1
        return took[0] / max(took[1], 1)


def _cart(X: Any, y: Any, held_out: Any, class_weight: Any) -> Any:
    """CART of depth 3 on the rows that evolution learned from, its leaf size chosen on those that it chose by."""
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.tree import DecisionTreeClassifier

    trees = [
        DecisionTreeClassifier(
            max_depth=3, min_samples_leaf=least, class_weight=class_weight, random_state=0
        ).fit(X[~held_out], y[~held_out])
        for least in LEAST_ROWS
    ]
    return max(trees, key=lambda tree: float(balanced_accuracy_score(y[held_out], tree.predict(X[held_out]))))


# --- a language model that is not there -------------------------------------------------------------------------------------------------
GOOD = (
    '## {"worst radius": {"<= 16.8": {"worst concave points": {"<= 0.14": {"value": "benign"}, "> 0.14": {"value": "malignant"}}}, '
    '"> 16.8": {"value": "malignant"}}} ##'
)
SAID = (
    f"Here are two trees.\n{GOOD}\n"
    '## {"worst area": {"> 880": {"value": "malignant"}, "<= 880": {"mean texture": {">= 21": {"value": "benign"}, '
    '"< 21": {"value": "benign"}}}}} ##',
    '## {"worst radius": {"<= 16.8": {"value": "benign"}, "> 16.8": {"value": "malignant"},}} ##',  # a comma too many
    '## {"tumour size": {"<= 2": {"value": "benign"}, "> 2": {"value": "malignant"}}} ##',  # no such feature
    '## {"worst radius": {"<= 900000": {"value": "benign"}, "> 900000": {"value": "malignant"}}} ##',  # nobody is so large
    '## {"worst radius": {"<= 16": {"value": "benign"}, "<= 17": {"value": "malignant"}}} ##',  # not one or the other
    "I am sorry, I cannot do that.",
    GOOD.replace("16.8", "15.9"),
)
REASONS = (
    "json",
    "attribute",
    "splits nothing",
    "condition",
    "no tree",
    "http 503",
    "answer is no completion",
)


def _through_an_endpoint() -> list[Measured]:
    """Evolve with what a scripted endpoint says, some of which is no tree or no answer; then twice with kept answers."""
    import tempfile

    from hardgrad.reproductions.scripted_endpoint import Reply, ScriptedEndpoint

    answers = [Reply(text) for text in SAID]
    with ScriptedEndpoint([*answers, Reply(status=503), Reply(body=b"<html>not here</html>")]) as endpoint:
        model = _told(endpoint.url, None)
        asked, words = len(endpoint.requests), str(endpoint.requests)
    counted = sum(model.rejected_.get(reason, 0) > 0 for reason in REASONS)
    with ScriptedEndpoint(answers) as endpoint, tempfile.TemporaryDirectory() as folder:
        first = _told(endpoint.url, folder)
        before = len(endpoint.requests)
        second = _told(endpoint.url, folder)
        again = len(endpoint.requests) - before
    return [
        Measured.at_least("endpoint: requests", asked, 10),
        Measured.exactly("endpoint: kinds of bad answers counted, of those given", counted / len(REASONS), 1),
        Measured.exactly("endpoint: requests of a second fit from kept answers", again, 0),
        Measured.exactly("endpoint: trees of both fits are equal", first.forest_.equals(second.forest_), 1),
        Measured.exactly("endpoint: prompts that hold rows of the table", words.count("Some rows"), 0),
    ]


def _told(url: str, cache: str | None) -> Any:
    """A model that was evolved by what an endpoint says."""
    import warnings

    from hardgrad.trees import ChatEndpointProposer, EvolvedTreeClassifier

    task = _Table.load("breast_cancer")
    proposer = ChatEndpointProposer(
        url, "scripted", max_calls=200, max_tokens=400_000, timeout=10, retries=0, cache=cache
    )
    model = EvolvedTreeClassifier(
        population=8, generations=2, proposer=proposer, task_description=task.question, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # where answers were no trees some are drawn at random, and a warning says so
        return model.fit(task.X, task.y)
