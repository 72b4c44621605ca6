"""TreeText: one decision tree as nested JSON that people and language models read and write, and its only parser and printer.

A leaf is `{"value": 1.5}`; a node is `{"age": {"<= 35": .., "> 35": ..}}`. What is read may use <, <=, > and >= in either order; what is
kept and printed is <=. Never imports torch.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from hardgrad.core.errors import ExportError, TreeTextError, suggestion
from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.table_model import Label
from hardgrad.trees.conditions import number_text
from hardgrad.trees.export_text import tree_span
from hardgrad.trees.forest import LEAF, OBLIQUE, Forest
from hardgrad.trees.forest_build import forest_from_trees

Value = float | tuple[float, ...] | str
MAX_DEPTH = 100
"""No text is read and no tree is written that is deeper."""
_NUMBER = r"[+-]?(?:inf|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
_CONDITION = re.compile(rf"\s*(<=|>=|<|>)\s*({_NUMBER})(\s+or\s+missing)?\s*")
_COMPLEMENT = {"<=": ">", ">": "<=", "<": ">=", ">=": "<"}


@dataclass(frozen=True)
class TreeText:
    """A decision tree over named attributes; every subtree is a tree itself, so that trees are cut and grafted by `dataclasses.replace`.

    Parameters
    ----------
    value : of a leaf: a number, one number an output, or a class label as text; None at a node.
    feature : of a node: the name of the attribute that it tests; None at a leaf.
    threshold : a row goes left iff its attribute is <= threshold.
    left, right : subtrees of a node.
    missing_left : the side of a missing value.

    Raises
    ------
    TreeTextError : neither a leaf nor a node, a threshold that is NaN, a value that is not finite, a tree deeper than 100.

    Examples
    --------
    >>> tree = TreeText.parse('{"age": {">= 35": {"value": 1}, "< 35": {"value": 0}}}')
    >>> tree.threshold, tree.left.value, tree.right.value  # below 35 is at most the next smaller double
    (34.99999999999999, 0.0, 1.0)
    >>> print(TreeText.parse('{"age": {"> 35": {"value": "old"}, "<= 35 or missing": {"value": "young"}}}'))
    {"age": {"<= 35 or missing": {"value": "young"}, "> 35": {"value": "old"}}}

    Source: the form is that of Liu, Huynh and van der Schaar, 2025, Decision Tree Induction Through LLMs via Semantically-Aware Evolution.
    """

    value: Value | None = None
    feature: str | None = None
    threshold: float = 0.0
    left: TreeText | None = None
    right: TreeText | None = None
    missing_left: bool = False

    def __post_init__(self) -> None:
        parts = (self.feature, self.left, self.right)
        node = self.value is None and all(part is not None for part in parts)
        if not node and (self.value is None or any(part is not None for part in parts)):
            raise TreeTextError(
                "a TreeText got neither a value alone nor a feature with two subtrees; expected one of them."
            )
        if node and math.isnan(self.threshold):
            raise TreeTextError(f"the threshold of {self.feature!r} is NaN; expected a number.", "condition")
        if self.value is not None and not isinstance(self.value, str) and not np.isfinite(self.value).all():
            raise TreeTextError(f"a leaf has value {self.value!r}; expected finite numbers.", "value")
        if self.depth > MAX_DEPTH:
            raise TreeTextError(f"the tree is deeper than {MAX_DEPTH}; expected a smaller one.", "depth")

    # --- shape ---------------------------------------------------------------------------------------------------------------
    @property
    def is_leaf(self) -> bool:
        """True for a tree without a test."""
        return self.value is not None

    @cached_property
    def depth(self) -> int:
        """Number of tests on the longest path, 0 for a leaf."""
        return 0 if self.left is None or self.right is None else 1 + max(self.left.depth, self.right.depth)

    def walk(self) -> Iterator[TreeText]:
        """Yield every subtree in preorder, this one first."""
        yield self
        if self.left is not None and self.right is not None:
            yield from self.left.walk()
            yield from self.right.walk()

    # --- reading -------------------------------------------------------------------------------------------------------------
    @classmethod
    def parse(
        cls, text: str, *, attributes: Collection[str] | None = None, max_depth: int | None = None
    ) -> Self:
        """Read a tree from JSON.

        Parameters
        ----------
        text : JSON alone, without prose around it.
        attributes : names that may be tested; any by default.
        max_depth : deepest tree that is accepted; 100 by default.

        Raises
        ------
        TreeTextError : what is wrong and where: line and column of bad JSON, otherwise the path from the root; `reason` is one word.
        """
        try:
            data = json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_constant, parse_int=float)
        except json.JSONDecodeError as wrong:
            raise TreeTextError(
                f"the tree is not JSON: {wrong.msg} at line {wrong.lineno}, column {wrong.colno}, near {_near(text, wrong.pos)}. Expected "
                "names and conditions in double quotes and no comma after the last entry.",
                "json",
            ) from None
        except RecursionError:
            raise TreeTextError("the JSON is nested too deeply to be a tree.", "depth") from None
        return cls.from_dict(data, attributes=attributes, max_depth=max_depth)

    @classmethod
    def from_dict(
        cls, data: Any, *, attributes: Collection[str] | None = None, max_depth: int | None = None
    ) -> Self:
        """Read a tree from nested dictionaries (see `parse`)."""
        limit = MAX_DEPTH if max_depth is None else min(max_depth, MAX_DEPTH)
        return cls._read(data, None if attributes is None else list(attributes), limit, ())

    @classmethod
    def _read(cls, data: Any, attributes: list[str] | None, levels: int, path: tuple[str, ...]) -> Self:
        if not isinstance(data, Mapping) or len(data) != 1:
            got = f"{len(data)} keys ({_shown(list(data))})" if isinstance(data, Mapping) else _shown(data)
            raise _error(
                path, f'got {got}; expected {{"value": ..}} or one attribute with its two conditions'
            )
        ((name, inside),) = data.items()
        if name == "value" and not isinstance(inside, Mapping):
            return cls(value=_value(inside, path))
        if attributes is not None and name not in attributes:
            hint = suggestion(str(name), attributes)
            raise _error(
                path, f"got attribute {name!r}; known are {', '.join(attributes)}.{hint}", "attribute"
            )
        if levels <= 0:
            raise _error(path, f"the test of {name!r} lies deeper than the tree may be", "depth")
        if not isinstance(inside, Mapping) or len(inside) != 2:
            got = (
                f"{len(inside)} conditions ({_shown(list(inside))})"
                if isinstance(inside, Mapping)
                else _shown(inside)
            )
            raise _error((*path, name), f'got {got}; expected two, as in "<= 1.5" and "> 1.5"')
        threshold, texts, missing_left = _conditions(list(inside), (*path, name))
        low, high = (
            cls._read(inside[text], attributes, levels - 1, (*path, f"{name} {text}")) for text in texts
        )
        return cls(feature=str(name), threshold=threshold, left=low, right=high, missing_left=missing_left)

    # --- writing -------------------------------------------------------------------------------------------------------------
    def to_dict(self) -> dict[str, Any]:
        """Return the nested form, with <= and >; numbers are written so that they read back to the same doubles."""
        if self.left is None or self.right is None:
            value = self.value
            plain = [_short(v) for v in value] if isinstance(value, tuple) else value
            return {"value": _short(plain) if isinstance(plain, float) else plain}
        number = "-0.0" if _is_minus_zero(self.threshold) else number_text(self.threshold)
        low = f"<= {number} or missing" if self.missing_left else f"<= {number}"
        return {str(self.feature): {low: self.left.to_dict(), f"> {number}": self.right.to_dict()}}

    def to_json(self, *, indent: int | None = None) -> str:
        """Return the nested form as JSON, on one line or indented."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    def __str__(self) -> str:
        return self.to_json()

    # --- forests -------------------------------------------------------------------------------------------------------------
    @classmethod
    def from_forest(cls, forest: Forest, tree: int = 0) -> Self:
        """Return one tree of a forest over its features; base, link and the other trees are left behind.

        Raises
        ------
        ParameterError : there is no such tree.
        ExportError : an oblique node, two features of one name, or a tree deeper than 100, none of which has a text.
        """
        first, last = tree_span(forest, tree)
        names = [feature.name for feature in forest.schema.features]
        if len(set(names)) < len(names):
            raise ExportError(f"features share a name: {names}; a tree as text needs distinct ones.")
        if (forest.feature[first:last] == OBLIQUE).any():
            raise ExportError(
                "a tree as text tests one attribute at a time; this one has nodes on sums of scores."
            )
        if forest.node_depth[first:last].max() > MAX_DEPTH:
            raise ExportError(f"a tree as text is at most {MAX_DEPTH} deep; this one is deeper.")
        built: dict[int, Self] = {}
        for node in range(last - 1, first - 1, -1):  # children follow their parents
            if forest.feature[node] == LEAF:
                values = tuple(forest.value[node].tolist())
                built[node] = cls(value=values[0] if len(values) == 1 else values)
                continue
            built[node] = cls(
                feature=names[forest.feature[node]], threshold=float(forest.threshold[node]),
                left=built.pop(int(forest.left[node])), right=built.pop(int(forest.right[node])),
                missing_left=bool(forest.default_left[node]),
            )  # fmt: skip
        return built[first]


def forest_from_texts(
    texts: Sequence[TreeText],
    columns: Sequence[str] | TableSchema,
    *,
    classes: Sequence[Label] = (),
    **options: Any,
) -> Forest:
    """Build a forest from trees as text.

    Parameters
    ----------
    texts : the trees; their attributes are features of the schema.
    columns : names of numeric columns, or a schema.
    classes : labels; a leaf whose value is one of them, as text, becomes the probability 1 of its class.
    options : of `ForestBuilder.finish`: base, link, aggregation, task, target.

    Raises
    ------
    TreeTextError : an attribute that is no feature, or a label that is no class.
    ArtifactError : leaves of different lengths.

    Examples
    --------
    >>> tree = TreeText.parse('{"age": {"< 35": {"value": "young"}, ">= 35": {"value": "old"}}}')
    >>> forest = forest_from_texts([tree], ["age"], classes=("old", "young"), task="classification")
    >>> forest.predict(np.array([[34.0], [35.0]])).tolist()
    ['young', 'old']
    """
    schema = columns if isinstance(columns, TableSchema) else TableSchema.numeric(columns)
    position = {feature.name: k for k, feature in enumerate(schema.features)}
    labels = {str(label): np.eye(len(classes))[k] for k, label in enumerate(classes)}
    nodes = [_node(tree, position, labels) for tree in texts]
    return forest_from_trees(nodes, schema, classes=classes, **options)


def _node(tree: TreeText, position: Mapping[str, int], labels: Mapping[str, Any]) -> dict[str, Any]:
    if tree.left is None or tree.right is None:
        if isinstance(tree.value, str) and tree.value not in labels:
            known = ", ".join(labels) or "none, because no classes were given"
            raise TreeTextError(f"a leaf has value {tree.value!r}; known labels are {known}.", "value")
        return {"value": labels[tree.value] if isinstance(tree.value, str) else tree.value}
    name = str(tree.feature)
    if name not in position:
        hint = suggestion(name, list(position))
        raise TreeTextError(f"a node tests {name!r}; known are {', '.join(position)}.{hint}", "attribute")
    return {
        "feature": position[name], "threshold": tree.threshold, "default_left": tree.missing_left,
        "left": _node(tree.left, position, labels), "right": _node(tree.right, position, labels),
    }  # fmt: skip


# --- pieces of the parser ----------------------------------------------------------------------------------------------------------------
def _conditions(texts: list[Any], path: tuple[str, ...]) -> tuple[float, list[Any], bool]:
    """Return the threshold of <=, the texts of the left and of the right condition, and the side of missing values."""
    parsed = [_condition(text, path) for text in texts]
    (first, number, _), (second, other, _) = parsed
    if _COMPLEMENT[first] != second or number != other:
        raise _error(
            path,
            f'got {_shown(texts)}, of which not exactly one is true; expected as in "<= 1.5" and "> 1.5"',
            "condition",
        )
    if parsed[0][2] and parsed[1][2]:
        raise _error(path, "both conditions say 'or missing'; expected at most one", "condition")
    if first.startswith(">"):
        parsed, texts = parsed[::-1], texts[::-1]
    if parsed[0][0] == "<":
        if number == -math.inf:
            raise _error(path, "nothing is below -inf; expected a finite number", "condition")
        number = math.nextafter(number, -math.inf)  # x < t is x <= the next smaller double
    return number, texts, parsed[0][2]


def _condition(text: Any, path: tuple[str, ...]) -> tuple[str, float, bool]:
    match = _CONDITION.fullmatch(text) if isinstance(text, str) else None
    if match is None or (math.isinf(float(match[2])) and "inf" not in match[2]):
        raise _error(
            path,
            f'got condition {_shown(text)}; expected <, <=, > or >= and a number, as in "<= 1.5"',
            "condition",
        )
    return match[1], float(match[2]), match[3] is not None


def _value(value: Any, path: tuple[str, ...]) -> Value:
    several = value if isinstance(value, list | tuple) else [value]
    numbers = [
        v for v in several if isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < math.inf
    ]
    if isinstance(value, str):
        return value
    if not several or len(numbers) != len(several):
        raise _error(
            path, f"got value {_shown(value)}; expected a finite number, a list of them, or a label", "value"
        )
    try:
        return tuple(map(float, several)) if isinstance(value, list | tuple) else float(value)
    except OverflowError:
        raise _error(path, f"got value {_shown(value)}, which no double holds", "value") from None


def _short(value: float) -> float | int:
    whole = value == int(value) and abs(value) < 1e15 and not _is_minus_zero(value)
    return int(value) if whole else value


def _is_minus_zero(value: float) -> bool:
    return value == 0 and math.copysign(1.0, value) < 0


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise TreeTextError(f"the key {twice!r} stands twice in one object; expected distinct keys.", "json")
    return dict(pairs)


def _no_constant(text: str) -> Any:
    raise TreeTextError(f"the JSON holds {text}, which is no number; expected finite numbers.", "json")


def _near(text: str, position: int) -> str:
    return repr(text[max(0, position - 12) : position + 12])


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _error(path: tuple[str, ...], what: str, reason: str = "structure") -> TreeTextError:
    where = " -> ".join(("root", *path))
    return TreeTextError(f"at {where}: {what.rstrip('.')}.", reason)
