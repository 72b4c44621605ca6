"""CategoricalEncoder: fifteen ways to turn categories into numbers behind one contract. Never imports torch.

What a level's code is stands in `encoder_codes`; the fitted codes are a `CategoryTable`, which transforms and exports; which kind to choose
is `encoder_advisor`'s business. Here rows become levels, levels codes, and codes a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.utils import Tags, check_random_state

from hardgrad.core.errors import DataError, ParameterError, suggestion
from hardgrad.tabular.category_codes import FOLDS, balanced_folds
from hardgrad.tabular.encoder_base import TableTransformer, read_target
from hardgrad.tabular.encoder_codes import (
    DEFAULT_SMOOTHING,
    KINDS,
    TARGET_KINDS,
    Floats,
    TargetFormula,
    cross_fitted,
    leave_one_out,
    level_totals,
    ordered,
)
from hardgrad.tabular.encoder_levels import (
    CodedColumn,
    Levels,
    coded_column,
    find_levels,
    plain_codes,
    side_by_side,
)
from hardgrad.tabular.schema import Column

SPARSE_ABOVE = 100
"""One-hot codes of a column with more levels than this are a sparse matrix, unless another form is asked for."""


class CategoricalEncoder(TableTransformer):
    """Turns the categorical columns of a table into numbers, so that any model can learn from them and SQL or C can repeat them.

    Parameters
    ----------
    kind : without a target "one-hot", "ordinal" (1, 2, .. in the order of appearance), "binary", "base-n" (digits of that number),
        "count", "hashing", and the contrasts "helmert", "sum", "backward-difference"; from the target "target" (mean of a level, trusted
        the more the more rows it has), "m-estimate", "james-stein", "leave-one-out", "catboost" (only the rows before, in a random order)
        and "woe" (weight of evidence, for classes). More than two classes give one code a class.
    columns : "auto" (text and dictionary columns), or names or positions; whole numbers may be named too. Other columns are passed on as
        numbers: booleans as 0 and 1, times in seconds, missing as NaN.
    smoothing : of "m-estimate" and "catboost" the rows of the mean that a level is mixed with (1), of "target" the rows over which trust
        grows (10), of "woe" the rows of each class that a level gets (1).
    min_samples_leaf : of "target": rows at which a level counts half.
    shrinkage : of "james-stein": "independent" (each level by its own variance) or "pooled".
    base : of "base-n".
    n_components : of "hashing": outputs of a column (CRC-32 of the UTF-8 text modulo this).
    normalize : of "count": whether to give shares of the rows, not their number.
    noise : of "leave-one-out": training codes are multiplied by Normal(1, noise).
    handle_unknown : what a category that was not seen becomes: "prior" (of target kinds the mean, of "woe" 0; "hashing" hashes it; of
        others 0), "zero" or "error".
    handle_missing : "category" (a level of its own; where training had none, as an unseen one), "prior" (as `handle_unknown="prior"`, and
        of "hashing" 0) or "error".
    cross_fit : folds of the training codes of "target", "m-estimate", "james-stein" and "woe": the code of a row is found without the
        target of its fold (the mean that it is drawn to stays that of all rows). 0 for none: a model would then see its own labels.
        "leave-one-out" and "catboost" have their own rule.
    sparse_output : "auto" (one-hot of more than 100 levels), True or False.
    target_type : "auto", "binary", "multiclass" or "continuous", as in scikit-learn's `TargetEncoder`.
    random_state : seed of folds, order and noise.

    Attributes
    ----------
    table_ : the fitted `CategoryTable`; `harden()` returns it.
    categories_ : for each encoded column its levels in the order of appearance, None for missing.
    target_type_, classes_, target_mean_ : of target kinds.

    Examples
    --------
    >>> table = {"state": ["NY", "TX", "NY", "TX", None], "age": [30, 40, 50, 60, 70]}
    >>> encoder = CategoricalEncoder("one-hot").fit(table)
    >>> encoder.get_feature_names_out().tolist()
    ['state=NY', 'state=TX', 'state is missing', 'age']
    >>> encoder.transform({"state": ["TX", "CA"], "age": [1, 2]}).tolist()
    [[0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 2.0]]

    Notes
    -----
    `fit_transform(X, y)` gives target kinds the codes to train on; `fit(X, y).transform(X)` gives what new rows get. The leave-one-out
    codes of two rows of a level differ only by their own labels: trees split on that. Use another kind for trees.

    Source: Zhu, Qiu and Fu, 2024, Comparative Study on the Performance of Categorical Variable Encoders in Classification and Regression
    Tasks; Micci-Barreca, 2001, A Preprocessing Scheme for High-Cardinality Categorical Attributes.
    """

    def __init__(
        self,
        kind: str = "one-hot",
        *,
        columns: Any = "auto",
        smoothing: float | None = None,
        min_samples_leaf: float = 20.0,
        shrinkage: str = "independent",
        base: int = 3,
        n_components: int = 8,
        normalize: bool = False,
        noise: float = 0.0,
        handle_unknown: str = "prior",
        handle_missing: str = "category",
        cross_fit: int = FOLDS,
        sparse_output: Any = "auto",
        target_type: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.kind = kind
        self.columns = columns
        self.smoothing = smoothing
        self.min_samples_leaf = min_samples_leaf
        self.shrinkage = shrinkage
        self.base = base
        self.n_components = n_components
        self.normalize = normalize
        self.noise = noise
        self.handle_unknown = handle_unknown
        self.handle_missing = handle_missing
        self.cross_fit = cross_fit
        self.sparse_output = sparse_output
        self.target_type = target_type
        self.random_state = random_state

    # --- scikit-learn --------------------------------------------------------------------------------------------------------
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the codes from all rows.

        Parameters
        ----------
        X : any table (pandas, polars, PyArrow, a mapping of columns) or array [n, columns].
        y : target [n]; needed by target kinds, ignored by others.

        Raises
        ------
        ParameterError : a parameter outside its range, or `columns` names none of the table.
        DataError : no rows; a target kind without a fitting target; a missing value where these are an error; the message names the column.
        """
        self._learn(X, y)
        return self

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Learn the codes and return the rows to train on: codes of target kinds do not know a row's own label (see `cross_fit`)."""
        levels, T = self._learn(X, y)
        if T is None or not (self.cross_fit or self.kind in ("leave-one-out", "catboost")):
            return self.transform(X)
        out = self.table_.transform(self._check(X, reset=False))
        names = [column.name for column in self.table_.columns]
        for column, codes in zip(levels, self._training_codes(levels, T), strict=True):
            low, high = self.table_.outputs_of(names.index(column.name))
            out[:, low:high] = codes
        return csr_matrix(out) if self._sparse else out

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.target_tags.required = self.kind in TARGET_KINDS
        return tags

    # --- learning ------------------------------------------------------------------------------------------------------------
    def _learn(self, X: Any, y: Any) -> tuple[list[Levels], Floats | None]:
        """Fit; return the levels of the encoded columns, and the target less its mean [n, outputs] of target kinds."""
        self._check_parameters()
        arrow = self._open(X)
        T = self._target(y, arrow.num_rows) if self.kind in TARGET_KINDS else None
        parts, levels = [], []
        for name, kind in self._kinds(arrow):
            if kind == "categorical":
                levels.append(find_levels(name, arrow[name], self.handle_missing))
                parts.append(self._coded(levels[-1], T))
            else:
                parts.append(CodedColumn(Column(name, kind), [name]))
        hashed = self.n_components if self.kind == "hashing" and self.handle_unknown == "prior" else 0
        self.table_ = side_by_side(parts, hashed)
        self.categories_ = [np.array(column.texts, dtype=object) for column in levels]
        many = any(len(column.texts) > SPARSE_ABOVE for column in levels)
        wanted = self.kind == "one-hot" and many if self.sparse_output == "auto" else self.sparse_output
        self._sparse = bool(wanted)
        return levels, T

    def _target(self, y: Any, n: int) -> Floats:
        """Return the target less its mean [n, outputs]."""
        self.target_type_, classes, T = read_target(y, n, self.target_type, f"kind={self.kind!r}")
        if self.kind == "woe" and classes is None:
            raise DataError("kind='woe' needs classes, but the target is continuous. Use 'target'.")
        if classes is not None:
            self.classes_ = classes
        constant = (T[0] == T).all()  # must not leave a rounding error in the codes
        self.target_mean_ = T[0].copy() if constant else T.mean(axis=0)
        return np.asarray(T - self.target_mean_)

    def _formula(self) -> TargetFormula:
        smoothing = DEFAULT_SMOOTHING.get(self.kind, 0.0) if self.smoothing is None else self.smoothing
        return TargetFormula(self.kind, smoothing, self.min_samples_leaf, self.shrinkage)

    def _coded(self, levels: Levels, T: Floats | None) -> CodedColumn:
        """Return the codes of one column."""
        if T is None:
            codes, suffixes = plain_codes(levels, self.kind, self.base, self.n_components, self.normalize)
            prior = np.zeros(len(suffixes))
        else:
            formula = self._formula()
            codes = formula.codes(level_totals(levels.number, T, len(levels.texts)), self.target_mean_)
            prior = formula.unseen(self.target_mean_)
            suffixes = [""] if T.shape[1] == 1 else [f" ({label})" for label in self.classes_.tolist()]
        unseen = prior if self.handle_unknown == "prior" else np.zeros_like(prior)
        missing = prior if self.handle_missing == "prior" else unseen
        refuse = self.handle_unknown == "error"
        # Without a level of its own, a missing value is a category that was not seen.
        refused = (
            refuse,
            self.handle_missing == "error"
            or (refuse and self.handle_missing == "category" and None not in levels.texts),
        )
        return coded_column(
            levels, [levels.name + suffix for suffix in suffixes], codes, unseen, missing, refused
        )

    def _training_codes(self, columns: Sequence[Levels], T: Floats) -> list[Floats]:
        """Return the codes [n, outputs] of the training rows by a target kind, one array a column."""
        prior, formula = self.target_mean_, self._formula()
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))
        if self.kind == "leave-one-out":
            scale = 1.0 + self.noise * rng.normal(size=(len(T), 1))
            return [scale * leave_one_out(c.number, T, len(c.texts), prior) for c in columns]
        if self.kind == "catboost":
            order = rng.permutation(len(T))
            return [ordered(c.number, T, prior, formula.smoothing, order) for c in columns]
        fold = balanced_folds(T, self.cross_fit, int(rng.integers(2**31 - 1)))
        return [cross_fitted(c.number, T, len(c.texts), prior, formula, fold) for c in columns]

    def _check_parameters(self) -> None:
        choices = {
            "kind": KINDS,
            "shrinkage": ("independent", "pooled"),
            "handle_unknown": ("prior", "zero", "error"),
            "handle_missing": ("category", "prior", "error"),
            "sparse_output": ("auto", True, False),
            "target_type": ("auto", "binary", "multiclass", "continuous"),
        }
        for name, allowed in choices.items():
            got = getattr(self, name)
            if got not in allowed:
                hint = suggestion(str(got), [str(a) for a in allowed])
                raise ParameterError(
                    f"{name} got {got!r}; expected one of {', '.join(map(repr, allowed))}.{hint}"
                )
        if self.smoothing is not None and self.kind not in DEFAULT_SMOOTHING:
            raise ParameterError(
                f"smoothing got {self.smoothing!r}, but kind={self.kind!r} has none; only {list(DEFAULT_SMOOTHING)} have."
            )
        least = {"base": 2, "n_components": 1, "noise": 0, "min_samples_leaf": 0, "cross_fit": 0}
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                raise ParameterError(f"{name} got {getattr(self, name)!r}; expected at least {bound}.")
        if self.cross_fit == 1:
            raise ParameterError("cross_fit got 1; expected 0 (none) or at least 2 folds.")
        if self.smoothing is not None and not (
            self.smoothing > 0 or (self.smoothing == 0 and self.kind in ("m-estimate", "catboost"))
        ):
            raise ParameterError(f"smoothing got {self.smoothing!r}; expected a positive number.")


def as_one_hot_weights(encoder: CategoricalEncoder, W: Any) -> Floats:
    """Return the weights on one-hot codes with which an affine layer says what it says with `W` on another code.

    That every code is a one-hot code followed by a matrix is why no code can beat one-hot under an affine model but by being shorter.

    Parameters
    ----------
    encoder : fitted, of any kind.
    W : weights on its outputs [rows, outputs].

    Returns
    -------
    weights [rows, one-hot outputs], in the order of `CategoricalEncoder("one-hot", columns=encoder.columns).fit(X)`: of each encoded column
    the levels in the order of appearance, other columns as they are. Equal for every level that training has seen.

    Raises
    ------
    ParameterError : W has another number of columns than the encoder has outputs.

    Examples
    --------
    >>> encoder = CategoricalEncoder("sum").fit({"state": ["NY", "TX", "CA"]})
    >>> as_one_hot_weights(encoder, [[2.0, 3.0]]).tolist()
    [[2.0, 3.0, -5.0]]
    """
    table = encoder.harden()
    weights = np.asarray(W, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[1] != len(table.features):
        raise ParameterError(f"W got shape {weights.shape}; expected [rows, {len(table.features)}].")
    blocks, encoded = [], iter(encoder.categories_)
    for c, column in enumerate(table.columns):
        low, high = table.outputs_of(c)
        if column.kind != "categorical":
            blocks.append(weights[:, low:high])
            continue
        row = {text: k for k, text in enumerate(column.categories)}
        order = [row.get(text, len(row) + 1) for text in next(encoded)]
        blocks.append(weights[:, low:high] @ table.column_codes(c)[order].T)
    return np.hstack(blocks)
