"""TableQuery: the features of a model of tables as SQL, what every query of such a model starts with. Never imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlglot import exp

from hardgrad.export.sql import SqlDialect, case, choose, is_null, null
from hardgrad.export.sql_query import Items, SqlQuery
from hardgrad.tabular.row_sql import is_one_of, physical_names, plain_number
from hardgrad.tabular.schema import Feature
from hardgrad.tabular.table_model import TableModel


class TableQuery(SqlQuery):
    """The query of a model: raw columns become features, then a subclass goes on.

    Parameters
    ----------
    model : the model.
    dialect, table : see `SqlQuery`.
    rename : column of the table -> column that the model expects, where they differ.
    """

    def __init__(self, model: TableModel, dialect: SqlDialect, table: str, rename: Mapping[str, str]) -> None:
        super().__init__(dialect, table)
        self.model = model
        used = {model.schema.features[f].column for f in model.used_features()}
        self.physical = physical_names(model.schema.names, used, dialect, rename)

    def texts(self) -> Iterable[str]:
        """Return the user's texts that may stand in the query."""
        categories = (text for column in self.model.schema.columns for text in column.categories)
        return [*self.physical, *self.names, *categories, *map(str, self.model.classes)]

    def add_features(self, keep: Sequence[str]) -> None:
        """Turn raw columns into numbers: `f_<feature>`, NULL where missing. Columns to keep become `k_<position>`."""
        items: Items = {f"k_{i}": self.raw(name) for i, name in enumerate(keep)}
        for f in self.model.used_features().tolist():
            items[f"f_{f}"] = self._feature(f)
        self.layer("features", items)

    def _feature(self, f: int) -> exp.Expr:
        feature = self.model.schema.features[f]
        kind = self.model.schema.columns[feature.column].kind
        number = self.dialect.number

        def raw() -> exp.Expr:
            return self.raw(self.physical[feature.column])

        if feature.transform == "codes":
            return self._codes(f, feature, raw)
        if feature.transform == "missing":
            missing = plain_number(kind, raw, self.dialect) if kind == "numeric" else raw()
            return choose(is_null(missing), number(1.0), number(0.0))
        return plain_number(kind, raw, self.dialect)

    def _codes(self, f: int, feature: Feature, raw: Callable[[], exp.Expr]) -> exp.Expr:
        """Give categories their codes; those that no node tells apart share the code of one of them, for a shorter query."""
        categories = self.model.schema.columns[feature.column].categories
        bounds = self.bounds(f)
        groups: dict[int, list[int]] = {}
        for k, code in enumerate(feature.codes):
            groups.setdefault(int(np.searchsorted(bounds, code, side="left")), []).append(k)
        branches = [(is_null(raw()), null())]
        for group in groups.values():
            if len(categories) in group:
                continue  # the side of unseen categories is the ELSE
            among = is_one_of([categories[k] for k in group], raw, self.dialect)
            if among is not None:
                branches.append((among, self.dialect.number(float(feature.codes[group[0]]))))
        return case(branches, self.dialect.number(float(feature.codes[-1])))

    def bounds(self, f: int) -> NDArray[Any]:
        """Return every number that the model compares feature f with, sorted: codes between two of them need not be told apart."""
        return np.unique(self.model.schema.features[f].codes)
