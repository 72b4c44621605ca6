"""The outermost part of a query of a model of tables: link, class labels, names of the result columns. Never imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sqlglot import exp

from hardgrad.core.errors import ExportError, ParameterError
from hardgrad.export.sql import (
    SqlDialect,
    above,
    at_most,
    call,
    case,
    choose,
    column,
    integer,
    is_null,
    left_sum,
    null,
)
from hardgrad.export.sql_dialects import sql_dialect
from hardgrad.tabular.schema import category_text
from hardgrad.tabular.table_model import Label, TableModel
from hardgrad.tabular.table_sql import TableQuery

LARGEST_EXPONENT = float(np.log(np.finfo(np.float64).max))
"""exp of more than this is infinite in NumPy and an error in some engines."""
SMALLEST_EXPONENT = -745.0
"""exp of less than this is 0 in NumPy (or its least positive number) and an error in some engines."""
SURE = 40.0
"""1 + exp(-SURE) is 1: no engine needs to compute exp(-r) for a larger r."""


def output_names(
    model: TableModel,
    dialect: str | SqlDialect = "duckdb",
    *,
    keep: Sequence[str] = (),
    outputs: str = "all",
    n_leaves: int = 0,
) -> list[str]:
    """Return the names of the result columns of `to_sql`, in order; `n_leaves` numbers of leaves come first.

    Raises
    ------
    ExportError : a column to keep has the name of an output.
    """
    engine = sql_dialect(dialect) if isinstance(dialect, str) else dialect
    names = [f"leaf_{t}" for t in range(n_leaves)]
    if outputs == "all":
        names += [f"raw_{o}" for o in range(model.n_outputs)]
        names += [f"probability_{category_text(label)}" for label in model.classes]
    several = model.task == "regression" and model.n_outputs > 1
    names += [f"prediction_{o}" for o in range(model.n_outputs)] if several else ["prediction"]
    taken: set[str] = set()
    written = []
    for name in names:
        candidate, again = engine.output_name(name), 2
        while candidate.casefold() in taken:
            candidate, again = f"{engine.output_name(name)}_{again}", again + 1
        taken.add(candidate.casefold())
        written.append(candidate)
    for name in keep:
        if name.casefold() in taken:
            raise ExportError(
                f"the column to keep {name!r} has the name of an output. Rename it, or do not keep it."
            )
        taken.add(name.casefold())
    return [*keep, *written]


def add_outputs(
    query: TableQuery, keep: Sequence[str], *, everything: bool, n_leaves: int = 0, may_be_null: bool = False
) -> None:
    """Put the link and the outermost SELECT on a query that has the raw scores `r_<output>`.

    Parameters
    ----------
    keep : columns of the table, which the query has as `k_<position>`.
    everything : all results, or the prediction only.
    n_leaves : columns `t_<tree>` of the query, the numbers of leaves.
    may_be_null : whether the scores of a row may be NULL; then the label is, too.
    """
    model = query.model
    if len(set(keep)) < len(keep):
        raise ParameterError(f"a column is kept twice: {list(keep)}.")
    names = output_names(
        model, query.dialect, keep=keep, outputs="all" if everything else "prediction", n_leaves=n_leaves
    )
    values: list[exp.Expr] = [column(f"k_{i}") for i in range(len(keep))]
    values += [column(f"t_{t}") for t in range(n_leaves)]
    outputs = range(model.n_outputs)
    if model.task == "classification" and model.link != "sigmoid":
        query.layer("best", {"best": query.dialect.maximum([column(f"r_{o}") for o in outputs])})
    if everything:
        values += [column(f"r_{o}") for o in outputs]
        values += _probabilities(query)
    if model.task == "regression":
        values += [column(f"r_{o}") for o in outputs]
    else:
        values.append(_predicted_label(query, may_be_null))
    query.finish(list(zip(names, values, strict=True)))


def _probabilities(query: TableQuery) -> list[exp.Expr]:
    model, dialect = query.model, query.dialect
    if model.task != "classification":
        return []
    if model.link == "sigmoid":
        query.layer("probabilities", {"p": _sigmoid(dialect)})
        return [exp.Sub(this=dialect.number(1.0), expression=column("p")), column("p")]
    outputs = range(model.n_outputs)
    if model.link == "identity":
        return [column(f"r_{o}") for o in outputs]
    query.layer(
        "shifted", {f"d_{o}": exp.Sub(this=column(f"r_{o}"), expression=column("best")) for o in outputs}
    )
    exponentials = {
        f"e_{o}": choose(
            at_most(column(f"d_{o}"), dialect.number(SMALLEST_EXPONENT)),
            dialect.number(0.0),
            call("EXP", column(f"d_{o}")),
        )
        for o in outputs
    }
    query.layer("exponentials", exponentials, carry=[n for n in query.names if n[0] != "d"])
    query.layer("total", {"total": left_sum([column(f"e_{o}") for o in outputs])})
    return [dialect.divide(column(f"e_{o}"), column("total")) for o in outputs]


def _sigmoid(dialect: SqlDialect) -> exp.Expr:
    """Write 1 / (1 + exp(-r)), as the reference computes it, without the exponentials that engines refuse."""
    r = column("r_0")
    exponential = call("EXP", exp.Neg(this=r.copy()))
    value = dialect.divide(dialect.number(1.0), exp.Add(this=dialect.number(1.0), expression=exponential))
    surely_no = exp.LT(this=r, expression=dialect.number(-LARGEST_EXPONENT))
    surely_yes = above(r.copy(), dialect.number(SURE))
    return case([(surely_no, dialect.number(0.0)), (surely_yes, dialect.number(1.0))], value)


def _predicted_label(query: TableQuery, may_be_null: bool) -> exp.Expr:
    """Decide on the raw scores, as the reference does: the first of the greatest."""
    model, dialect = query.model, query.dialect
    labels = [_label(dialect, label) for label in model.classes]
    if model.link == "sigmoid":
        chosen = choose(above(column("r_0"), dialect.number(0.0)), labels[1], labels[0])
    else:
        equal = [exp.EQ(this=column(f"r_{o}"), expression=column("best")) for o in range(model.n_outputs - 1)]
        chosen = case(list(zip(equal, labels[:-1], strict=True)), labels[-1])
    if may_be_null:  # a weighed value may be missing: then the scores are NULL
        chosen = choose(is_null(column("r_0")), null(), chosen)
    if isinstance(model.classes[0], int) and not isinstance(model.classes[0], bool):
        return dialect.whole(chosen)
    return chosen


def _label(dialect: SqlDialect, label: Label) -> exp.Expr:
    if isinstance(label, bool):
        return dialect.truth(label)
    if isinstance(label, int):
        return integer(label)
    if isinstance(label, float):
        return dialect.number(label)
    text = dialect.text(label)
    if text is None:
        raise ExportError(f"{dialect.name} cannot hold the class label {label!r}. Rename the class.")
    return text
