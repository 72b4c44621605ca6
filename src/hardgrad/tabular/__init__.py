"""Tables in: reading, column typing, encoding of categories, targets, data sets. Names are imported when they are used; no torch."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "CategoricalEncoder": "hardgrad.tabular.encoders",
    "CategoryTable": "hardgrad.tabular.category_table",
    "Column": "hardgrad.tabular.schema",
    "Dataset": "hardgrad.tabular.datasets",
    "EncoderAdvice": "hardgrad.tabular.encoder_advisor",
    "Feature": "hardgrad.tabular.schema",
    "LearnedEncoder": "hardgrad.tabular.learned_encoder",
    "Neighbourhood": "hardgrad.tabular.neighbour_model",
    "NeighbourhoodClassifier": "hardgrad.tabular.neighbours",
    "NeighbourhoodRegressor": "hardgrad.tabular.neighbours",
    "NeuralRanker": "hardgrad.tabular.ranker",
    "PackedRows": "hardgrad.tabular.packed_rows",
    "SoftGroups": "hardgrad.tabular.soft_groups",
    "Speed": "hardgrad.tabular.speed",
    "StreamedTable": "hardgrad.tabular.streaming",
    "TableEncoder": "hardgrad.tabular.encoding",
    "TableSchema": "hardgrad.tabular.schema",
    "Target": "hardgrad.tabular.target",
    "Typing": "hardgrad.tabular.column_typing",
    "as_one_hot_weights": "hardgrad.tabular.encoders",
    "check_weights": "hardgrad.tabular.weights",
    "infer_columns": "hardgrad.tabular.column_typing",
    "list_tables": "hardgrad.tabular.datasets",
    "load_table": "hardgrad.tabular.datasets",
    "measure_speed": "hardgrad.tabular.speed",
    "prepare_target": "hardgrad.tabular.target",
    "read_table": "hardgrad.tabular.reading",
    "recommend_encoder": "hardgrad.tabular.encoder_advisor",
    "to_arrow": "hardgrad.tabular.arrow",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
