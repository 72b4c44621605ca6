"""TruthTable: what a circuit shall do, row by row, with rows that do not matter; and how far a circuit is from it. Never imports torch."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from hardgrad.core.bit_words import pack_bits
from hardgrad.core.errors import DataError, ParameterError
from hardgrad.logic.boolean_functions import HasTruthTable
from hardgrad.logic.circuit import MAX_TABLE_INPUTS, Bits, Circuit, Words
from hardgrad.logic.gate_ids import truth_rows

MOST_CLASS_INPUTS = 5
"""Inputs of the largest function whose class is searched for: 5! 2^6 = 7,680 variants of it."""
DONT_CARE = ("-", "x", "X")


@dataclass(frozen=True, eq=False)
class TruthTable:
    """The outputs that are wanted of a circuit for all of its inputs.

    Parameters
    ----------
    outputs : bool [2**inputs, outputs], input 0 changing slowest.
    care : bool of the same shape, False where an output may be anything; None where all of them matter.
    input_names, output_names : one a bit, or empty.

    Raises
    ------
    ParameterError : a length that is no power of two, more than 20 inputs, values other than 0 and 1, a mask of another shape, names that
        are empty, equal, or not as many as bits.

    Examples
    --------
    >>> table = TruthTable.of([0, 1, 1, 0])
    >>> table.n_inputs, table.n_outputs, table.circuit().gate_counts()
    (2, 1, {'XOR': 1})
    """

    outputs: Bits
    care: Bits
    input_names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        given: tuple[tuple[str, Any], ...] = (("outputs", self.outputs), ("care", self.care))
        for what, array in given:
            if not isinstance(array, np.ndarray) or array.dtype != np.bool_ or array.ndim != 2:
                raise ParameterError(
                    f"TruthTable() got {what} that are no Booleans [2**inputs, outputs]. Use TruthTable.of()."
                )
        rows = len(self.outputs)
        if not self.outputs.size or rows & (rows - 1) or rows > 1 << MAX_TABLE_INPUTS:
            raise ParameterError(
                f"got a truth table of shape {self.outputs.shape}; expected [2**inputs, outputs], at most {MAX_TABLE_INPUTS} inputs."
            )
        if self.care.shape != self.outputs.shape:
            raise ParameterError(
                f"got a care mask of shape {self.care.shape} for outputs of shape {self.outputs.shape}."
            )
        for what, names, count in (
            ("input", self.input_names, self.n_inputs),
            ("output", self.output_names, self.n_outputs),
        ):
            if names and (len(names) != count or len(set(names)) < count or not all(names)):
                raise ParameterError(
                    f"got {what} names {names} for {count} {what}s; expected a different one, not empty, for each, or none."
                )

    @classmethod
    def of(
        cls,
        table: Any,
        *,
        care: Any = None,
        input_names: Sequence[str] = (),
        output_names: Sequence[str] = (),
    ) -> Self:
        """Return the table of bits [2**inputs] or [2**inputs, outputs], of a circuit, of a task, or of another table.

        Parameters
        ----------
        table : Booleans, or numbers that are 0 or 1; or anything that has a `truth_table()`, whose names are taken over where it has any.
        care : the same shape, False (or 0) where the output does not matter; None where all of them matter, or as in another table.
        input_names, output_names : of the bits.
        """
        array = _bits(table.truth_table() if isinstance(table, HasTruthTable) else table, "truth table")
        if care is None and isinstance(table, TruthTable):
            care = table.care
        mask = np.ones_like(array) if care is None else _bits(care, "care mask")
        names = (
            input_names or getattr(table, "input_names", ()),
            output_names or getattr(table, "output_names", ()),
        )
        return cls(array, mask, *map(tuple, names))

    @classmethod
    def from_callable(
        cls,
        function: Callable[[Bits], Any],
        n_inputs: int,
        *,
        input_names: Sequence[str] = (),
        output_names: Sequence[str] = (),
    ) -> Self:
        """Return the table of a function, which is asked for all inputs at once.

        Parameters
        ----------
        function : takes bits, bool [2**n_inputs, n_inputs], and returns bits [2**n_inputs] or [2**n_inputs, outputs].
        n_inputs : 0 to 20.

        Examples
        --------
        >>> TruthTable.from_callable(lambda x: x.sum(axis=1) >= 2, 3).outputs[:, 0].astype(int).tolist()
        [0, 0, 0, 1, 0, 1, 1, 1]
        """
        if not 0 <= n_inputs <= MAX_TABLE_INPUTS:
            raise ParameterError(
                f"from_callable() got n_inputs={n_inputs}; expected 0 to {MAX_TABLE_INPUTS}."
            )
        said = np.asarray(function(truth_rows(n_inputs).astype(bool)))
        if said.ndim not in (1, 2) or len(said) != 1 << n_inputs:
            raise ParameterError(
                f"the function returned shape {said.shape} for {1 << n_inputs} rows; expected [rows] or [rows, outputs]."
            )
        return cls.of(said, input_names=input_names, output_names=output_names)

    @classmethod
    def from_csv(
        cls,
        path: str | os.PathLike[str],
        outputs: int | Sequence[str] = 1,
        *,
        unlisted: Literal["error", "dont_care"] = "error",
    ) -> Self:
        """Return the table in a CSV file with a header, a row of bits for each row of the table, in any order.

        Parameters
        ----------
        path : of the file. Cells are 0 and 1, and "-" or "x" for an output that does not matter.
        outputs : how many columns, the last ones, are outputs; or their names.
        unlisted : what rows are that the file does not have: an error, or without meaning ("dont_care").

        Raises
        ------
        DataError : another cell, a row of another length, a row that stands twice, a row that is missing, no output.
        """
        return cls(*_read_csv(Path(path), outputs, unlisted))

    # --- what it says --------------------------------------------------------------------------------------------------------
    @property
    def n_inputs(self) -> int:
        """Number of input bits."""
        return len(self.outputs).bit_length() - 1

    @property
    def n_outputs(self) -> int:
        """Number of output bits."""
        return int(self.outputs.shape[1])

    @property
    def n_bits(self) -> int:
        """How many output bits matter, rows and outputs together."""
        return int(self.care.sum())

    def truth_table(self) -> Bits:
        """Return the outputs, bool [2**inputs, outputs]; what does not matter is as it was given."""
        return self.outputs

    @cached_property
    def words(self) -> Words:
        """The outputs packed, uint64 [outputs, words]."""
        return pack_bits(self.outputs.T)

    @cached_property
    def care_words(self) -> Words:
        """The bits that matter packed, uint64 [outputs, words]."""
        return pack_bits(self.care.T)

    def circuit(self) -> Circuit:
        """Return a circuit made straight from the table, as a decision diagram (see `Circuit.from_truth_table`)."""
        return Circuit.from_truth_table(self)

    def __repr__(self) -> str:
        free = self.care.size - self.n_bits
        return f"TruthTable({self.n_inputs} inputs, {self.n_outputs} outputs{f', {free} free bits' if free else ''})"


def bits_distance(circuit: Circuit, table: TruthTable) -> int:
    """Return how many output bits of a circuit differ from a table, over all rows; 0 proves that it does what the table says.

    Raises
    ------
    DataError : another number of inputs or outputs.

    Examples
    --------
    >>> bits_distance(Circuit.from_expression("y = a | b"), TruthTable.of([0, 1, 1, 0]))
    1
    """
    if (circuit.n_inputs, circuit.n_outputs) != (table.n_inputs, table.n_outputs):
        raise DataError(
            f"cannot compare a circuit of {circuit.n_inputs} inputs and {circuit.n_outputs} outputs with a table of {table.n_inputs} "
            f"and {table.n_outputs}."
        )
    return int(((circuit.truth_table() != table.outputs) & table.care).sum())


def npn_class(table: Any) -> Bits:
    """Return the representative of a function's class: functions have the same one iff inputs can be permuted and inputs and the output
    complemented so that one becomes the other.

    Parameters
    ----------
    table : bits [2**inputs], or many tables [..., 2**inputs]; at most 5 inputs.

    Returns
    -------
    representative : bool, in the same shape: of all such variants the one that is least when its first row is the highest digit.

    Raises
    ------
    ParameterError : a length that is no power of two, values other than 0 and 1, more than 5 inputs.

    Examples
    --------
    >>> npn_class([[0, 1, 1, 1], [0, 0, 1, 0]]).astype(int).tolist()  # OR, and a AND NOT b
    [[0, 0, 0, 1], [0, 0, 0, 1]]
    """
    array = np.asarray(table)
    rows = array.shape[-1] if array.ndim else 0
    inputs = rows.bit_length() - 1
    if rows < 1 or rows != 1 << inputs or inputs > MOST_CLASS_INPUTS:
        raise ParameterError(
            f"npn_class() got tables of shape {array.shape}; expected [..., 2**inputs], at most {MOST_CLASS_INPUTS} inputs."
        )
    bits = _bits(array.reshape(-1, rows), "table in npn_class()")
    place = np.uint64(1) << np.arange(rows, dtype=np.uint64)[::-1]
    least = np.full(len(bits), ~np.uint64(0))
    for order in permutations(range(inputs)):
        moved = truth_rows(inputs)[:, order] @ (1 << np.arange(inputs)[::-1])
        for flips in range(rows):
            variant = bits[:, moved.astype(np.int64) ^ flips]
            variant = variant ^ variant[:, :1]  # the first row of the least variant is 0
            least = np.minimum(least, variant @ place)
    return ((least[:, None] & place) > 0).reshape(array.shape)


def _bits(values: Any, what: str) -> Bits:
    """A matrix of Booleans, of one or several outputs."""
    array = np.asarray(values)
    if array.ndim not in (1, 2) or 0 in array.shape:
        raise ParameterError(
            f"got a {what} of shape {array.shape}; expected [2**inputs] or [2**inputs, outputs]."
        )
    if array.dtype.kind not in "biuf" or not ((array == 0) | (array == 1)).all():
        raise ParameterError(f"got a {what} with other values than 0 and 1; expected bits.")
    return array.astype(bool).reshape(len(array), -1)


def _read_csv(
    path: Path, outputs: int | Sequence[str], unlisted: str
) -> tuple[Bits, Bits, tuple[str, ...], tuple[str, ...]]:
    if unlisted not in ("error", "dont_care"):
        raise ParameterError(f"from_csv() got unlisted={unlisted!r}; expected 'error' or 'dont_care'.")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV in UTF-8 ({error}).") from error
    if not lines:
        raise DataError(f"{path} is empty; expected a header and rows of bits.")
    header = [name.strip() for name in lines[0][1]]
    if isinstance(outputs, int):
        given = header[len(header) - outputs :] if 0 < outputs <= len(header) else []
    else:
        given = [outputs] if isinstance(outputs, str) else list(outputs)
    different = len(set(header)) == len(header) and len(set(given)) == len(given)
    if not given or not set(given) <= set(header) or not different or not all(header):
        raise DataError(
            f"{path} has columns {header}; expected different names, none of them empty, and outputs={outputs!r} among them."
        )
    names = [name for name in header if name not in given]
    if len(names) > MAX_TABLE_INPUTS:
        raise DataError(f"{path} has {len(names)} input columns; at most {MAX_TABLE_INPUTS}.")
    table, care = np.zeros((2, 1 << len(names), len(given)), bool)
    seen = np.zeros(len(table), bool)
    for number, cells in lines[1:]:
        where = f"{path}, line {number}"
        if len(cells) != len(header):
            raise DataError(f"{where}: {len(cells)} cells; expected {len(header)}.")
        found = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
        row = int("".join(["0", *(_cell(where, name, found[name], ("0", "1")) for name in names)]), 2)
        if seen[row]:
            raise DataError(f"{where}: the inputs {[int(found[name]) for name in names]} stand twice.")
        seen[row] = True
        for k, name in enumerate(given):
            text = _cell(where, name, found[name], ("0", "1", *DONT_CARE))
            table[row, k], care[row, k] = text == "1", text not in DONT_CARE
    if unlisted == "error" and not seen.all():
        missing = truth_rows(len(names))[int(np.argmin(seen))].tolist()
        raise DataError(
            f"{path} has {int(seen.sum())} of {len(seen)} rows; {missing} is missing. "
            "Pass unlisted='dont_care' if missing rows do not matter."
        )
    return table, care, tuple(names), tuple(given)


def _cell(where: str, name: str, text: str, allowed: Sequence[str]) -> str:
    if text not in allowed:
        raise DataError(f"{where}: {name} is {text!r}; expected one of {', '.join(allowed)}.")
    return text
