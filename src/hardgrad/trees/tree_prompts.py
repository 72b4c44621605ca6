"""What a language model is asked for, and how trees are read out of its answers. Never imports torch; asking is the proposers' business."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hardgrad.core.errors import TreeTextError
from hardgrad.trees.conditions import number_text
from hardgrad.trees.proposers import Proposal, TaskContext
from hardgrad.trees.tree_text import TreeText

MARK = "##"
MAX_LEVELS = 20
SHOWN_ROWS = 10
SYSTEM = (
    "You are an expert in building decision trees for tables. You answer with decision trees as JSON and nothing else, each tree between "
    f"two {MARK} marks."
)


@dataclass(frozen=True)
class Answer:
    """What a language model said.

    Parameters
    ----------
    text : the whole answer.
    tokens : its tokens in order, each with the logarithm of its probability; None where they are not known.
    """

    text: str
    tokens: tuple[tuple[str, float], ...] | None = None

    def logprob(self, first: int, last: int) -> float | None:
        """Return the sum over the tokens that lie within `text[first:last]`, in part or whole; None where they are not known."""
        if self.tokens is None:
            return None
        ends = np.cumsum([len(token) for token, _ in self.tokens])
        return float(
            sum(
                logprob
                for end, (token, logprob) in zip(ends.tolist(), self.tokens, strict=True)
                if end > first and end - len(token) < last
            )
        )


def write_prompt(
    parents: Sequence[TreeText],
    fitness: Sequence[float],
    target: float | None,
    context: TaskContext,
    n: int,
    *,
    allow_rows: bool = False,
) -> str:
    """Return what a language model is asked for crossover, or for mutation where there is no target.

    Parameters
    ----------
    parents, fitness, target, context, n : see `TreeProposer.propose`.
    allow_rows : show a few training rows; otherwise no value of a row is shown but the smallest and largest of each feature.
    """
    trees = [f"{MARK} {parent.to_json()} {MARK}" for parent in parents]
    if target is None:
        ask = (
            f"Write {n} new trees that are variations of these: different from them and from each other, and sensible for the task. "
            "What the features mean should guide you."
        )
    else:
        trees = [f"{context.metric}: {value:.4f}\n{tree}" for value, tree in zip(fitness, trees, strict=True)]
        better = "higher" if context.higher_is_better else "lower"
        ask = (
            f"{context.metric} is better the {better} it is. Write {n} new trees that join what is good in these, with {context.metric} "
            f"about {target:.4f}, different from these and from each other."
        )
    rules = (
        f'A tree is {{"feature": {{"<= 1.5": SUBTREE, "> 1.5": SUBTREE}}}} or {{"value": VALUE}}. Operators are <, <=, > and >=; the two '
        f"conditions of a feature complement each other. At most {context.max_depth} features are tested one after another. Use only "
        f"features of the list, by their exact names. Begin and end every tree with {MARK}."
    )
    sections = [_task(context), "Features:\n" + "\n".join(_features(context))]
    if allow_rows:
        sections.append("Some rows:\n" + "\n".join(_rows(context)))
    return "\n\n".join([*sections, "Trees:\n" + "\n".join(trees), ask, rules])


def read_answer(answer: Answer, context: TaskContext) -> list[Proposal]:
    """Return the trees of an answer that can be read; the others are counted by reason in `context.rejected`."""
    proposals = []
    found = find_trees(answer.text)
    if not found:
        context.reject("no tree")
    for first, last in found:
        text = answer.text[first:last]
        try:
            tree = TreeText.parse(text, attributes=context.names, max_depth=context.max_depth)
        except TreeTextError as wrong:
            context.reject(wrong.reason)
            continue
        proposals.append(Proposal(tree, answer.logprob(first, last)))
    return proposals


def find_trees(text: str) -> list[tuple[int, int]]:
    """Return where trees stand in an answer: from the first to the last brace of every part between two marks.

    >>> answer = 'Here: ## {"value": 1} ## and ##{"value": 2}##'
    >>> [answer[first:last] for first, last in find_trees(answer)]
    ['{"value": 1}', '{"value": 2}']
    """
    found, place = [], 0
    for part in text.split(MARK):
        first, last = part.find("{"), part.rfind("}")
        if first >= 0:
            end = last + 1 if last > first else len(part)
            found.append((place + first, place + end))
        place += len(part) + len(MARK)
    return found


def _task(context: TaskContext) -> str:
    kinds = [column.kind for column in context.schema.columns]
    numeric = sum(kind != "categorical" for kind in kinds)
    wanted = context.target or "the target"
    if context.classes:
        what = f"the class {wanted}, one of {', '.join(map(str, context.classes))}"
    else:
        what = f"the number {wanted}"
    return "\n".join(
        line
        for line in (
            context.task_description,
            f"Predict {what}, from a table of {len(context.rows.X)} rows with {numeric} numeric and {len(kinds) - numeric} categorical "
            "columns.",
        )
        if line
    )


def _features(context: TaskContext) -> list[str]:
    """One line a feature: name, range or levels, description."""
    lines = []
    for number, feature in enumerate(context.schema.features):
        column, values = context.schema.columns[feature.column], context.rows.X[:, number]
        there = values[~np.isnan(values)]
        if feature.transform == "codes":
            levels = [
                f"{level} is {number_text(code)}"
                for level, code in zip(column.categories, feature.codes[:-1], strict=True)
            ]
            more = ", .." if len(levels) > MAX_LEVELS else ""
            says = f"categories as numbers: {', '.join(levels[:MAX_LEVELS])}{more}"
        elif feature.transform == "missing":
            says = f"1 where {column.name} is missing, else 0"
        elif len(there):
            says = (
                f"{column.kind}, from {number_text(float(there.min()))} to {number_text(float(there.max()))}"
            )
        else:
            says = f"{column.kind}, always missing"
        description = context.descriptions[number]
        lines.append(f"- {feature.name} ({says})" + (f": {description}" if description else ""))
    return lines


def _rows(context: TaskContext) -> list[str]:
    rows = context.rows.take(np.arange(min(SHOWN_ROWS, len(context.rows.X))))
    lines = []
    for x, y in zip(rows.X.tolist(), rows.Y.tolist(), strict=True):
        said = ", ".join(f"{name} = {number_text(v)}" for name, v in zip(context.names, x, strict=True))
        answer = context.classes[int(np.argmax(y))] if context.classes else y
        lines.append(f"{said}: {answer}")
    return lines
