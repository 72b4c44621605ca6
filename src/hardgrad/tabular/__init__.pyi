"""The names of hardgrad.tabular and where they are defined; made by `make stubs`."""

from hardgrad.tabular.arrow import to_arrow as to_arrow
from hardgrad.tabular.column_typing import Typing as Typing
from hardgrad.tabular.column_typing import infer_columns as infer_columns
from hardgrad.tabular.datasets import Dataset as Dataset
from hardgrad.tabular.datasets import list_tables as list_tables
from hardgrad.tabular.datasets import load_table as load_table
from hardgrad.tabular.encoding import TableEncoder as TableEncoder
from hardgrad.tabular.packed_rows import PackedRows as PackedRows
from hardgrad.tabular.ranker import NeuralRanker as NeuralRanker
from hardgrad.tabular.reading import read_table as read_table
from hardgrad.tabular.schema import Column as Column
from hardgrad.tabular.schema import Feature as Feature
from hardgrad.tabular.schema import TableSchema as TableSchema
from hardgrad.tabular.streaming import StreamedTable as StreamedTable
from hardgrad.tabular.target import Target as Target
from hardgrad.tabular.target import prepare_target as prepare_target
from hardgrad.tabular.weights import check_weights as check_weights
