"""ComparatorNetwork: the exact sorting network, layers of comparators as NumPy arrays. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.artifact import Artifact
from hardgrad.core.errors import ArtifactError, DataError, ParameterError
from hardgrad.export import c, verilog
from hardgrad.export.forms import Files, Form
from hardgrad.functional.network_layers import Layers, Network, network_layers, unsorted_inputs

C_TYPES = ("double", "float", "int8_t", "int16_t", "int32_t", "int64_t", "uint8_t", "uint16_t", "uint32_t", "uint64_t")  # fmt: skip
MOST_TRIED = 24


@dataclass(frozen=True, eq=False)
class ComparatorNetwork(Artifact, kind="comparator-network"):
    """A network of comparators that sorts rows of n numbers with a fixed sequence of minima and maxima.

    Parameters
    ----------
    n : number of wires, one a column.
    low, high : int32 [comparators]; the wire that gets the smaller and the wire that gets the larger of two numbers. Equal numbers stay
        where they are.
    layer_offset : int32 [layers + 1]; layer k owns the comparators `layer_offset[k]:layer_offset[k + 1]`, which touch no wire twice.
    descending : largest first: the comparators then send larger numbers to lower wires.

    Examples
    --------
    >>> network = ComparatorNetwork.build("bitonic", 3)
    >>> network.predict(np.array([[3.0, 1.0, 2.0]])).tolist(), network.ranks(np.array([[3.0, 1.0, 2.0]])).tolist()
    ([[1.0, 2.0, 3.0]], [[3, 1, 2]])
    >>> network.unsorted_inputs()
    0
    """

    n: int
    low: NDArray[np.int32]
    high: NDArray[np.int32]
    layer_offset: NDArray[np.int32]
    descending: bool = False

    _arrays: ClassVar[tuple[str, ...]] = ("low", "high", "layer_offset")

    def __post_init__(self) -> None:
        if type(self.n) is not int or self.n < 0 or type(self.descending) is not bool:
            raise ArtifactError(f"a comparator network has n={self.n!r} and descending={self.descending!r}.")
        for name in self._arrays:
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != np.int32 or array.ndim != 1:
                raise ArtifactError(f"comparator network array {name!r} must be int32 with 1 dimension.")
            array.flags.writeable = False
        offset, size = self.layer_offset.astype(np.int64), len(self.low)
        if len(offset) < 1 or offset[0] != 0 or offset[-1] != size or (np.diff(offset) < 1).any():
            raise ArtifactError("comparator network layers do not cover its comparators in order.")
        if len(self.high) != size:
            raise ArtifactError("comparator network needs as many high wires as low ones.")
        wires = np.stack([self.low, self.high], axis=1)
        if size and (wires.min() < 0 or wires.max() >= self.n):
            raise ArtifactError(f"comparator network names wires outside 0 .. {self.n - 1}.")
        if self.n > 1 and len(np.unique(wires)) < self.n:
            raise ArtifactError(
                f"comparator network leaves some of its {self.n} wires uncompared; it cannot sort."
            )
        for start, stop in pairwise(offset):
            if len(np.unique(wires[start:stop])) < 2 * (stop - start):
                raise ArtifactError("comparator network has a layer that touches a wire twice.")

    @classmethod
    def build(cls, network: Network, n: int, *, descending: bool = False) -> Self:
        """Return a network by name ("odd_even", "bitonic"), or of layers of pairs (wire of the smaller, wire of the larger).

        Raises
        ------
        ParameterError : an unknown name; layers that do not sort; a number of wires below 0.
        """
        if n < 0:
            raise ParameterError(f"ComparatorNetwork.build() got n={n}; expected the number of wires.")
        layers = network_layers("ComparatorNetwork.build", network, n)
        pairs = np.array([pair for layer in layers for pair in layer], dtype=np.int32).reshape(-1, 2)
        first, second = np.ascontiguousarray(pairs.T)
        offset = np.cumsum([0, *map(len, layers)]).astype(np.int32)
        return cls(n, second, first, offset, True) if descending else cls(n, first, second, offset)

    @property
    def layers(self) -> Layers:
        """The layers as tuples of pairs (wire of the smaller, wire of the larger)."""
        pairs = list(zip(self.low.tolist(), self.high.tolist(), strict=True))
        ends = self.layer_offset.tolist()
        return tuple(tuple(pairs[a:b]) for a, b in pairwise(ends))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the rows of X (..., n) sorted, in their dtype.

        Raises
        ------
        DataError : another number of columns, NaN, or what is no real number.
        """
        return self._run(X)[0]

    def ranks(self, X: Any) -> NDArray[np.int64]:
        """Return the rank 1 .. n of every element of the rows of X (..., n), int64; equal elements have different ranks.

        Raises
        ------
        DataError : as for `predict`.
        """
        route = self._run(X)[1]
        ranks = np.empty_like(route)
        places = np.broadcast_to(np.arange(1, self.n + 1, dtype=np.int64), route.shape)
        np.put_along_axis(ranks, route, places, axis=-1)
        return ranks

    def unsorted_inputs(self) -> int:
        """Return how many of the 2^n inputs of zeros and ones are left out of order; 0 proves that the network sorts everything.

        Raises
        ------
        ParameterError : more than 24 wires.
        """
        if self.n > MOST_TRIED:
            raise ParameterError(
                f"unsorted_inputs() tries all 2^n inputs; n={self.n} is too many, at most {MOST_TRIED}."
            )
        return unsorted_inputs(self.layers, self.n, descending=self.descending)

    def forms(self) -> Mapping[str, Form]:
        """Return C of doubles and Verilog of bytes (see `hardgrad.export.forms`)."""

        def in_verilog(name: str = "model", pipelined: bool = False) -> Files:
            return self.to_verilog(name, pipelined=pipelined).files()

        return {
            "c": Form("C", lambda name="model": self.to_c(name).files(), ("name",)),
            "verilog": Form("Verilog", in_verilog, ("name", "pipelined")),
        }

    def to_c(self, name: str = "sorter", *, dtype: str = "double") -> c.CSource:
        """Return C99 with `<name>_sort(const T *x, T *sorted)` and `<name>_ranks(const T *x, int32_t *rank)`, one row of n a call.

        Parameters
        ----------
        name : prefix of every name.
        dtype : the type T of the numbers: "double", "float", or an integer of <stdint.h> as in "int16_t". No number may be NaN.

        Raises
        ------
        ParameterError : a name that C cannot have, an unknown type.

        Examples
        --------
        >>> print(ComparatorNetwork.build("odd_even", 2).to_c().source.partition("    SWAP")[2].partition("}")[0])
        (0, 1);
            for (i = 0; i < 2; i++) y[i] = v[i];
        """
        c.require_identifier(name)
        if dtype not in C_TYPES:
            raise ParameterError(f"to_c() got dtype={dtype!r}; expected one of {', '.join(C_TYPES)}.")
        declared = (
            f"void {name}_sort(const {dtype} *x, {dtype} *y)",
            f"void {name}_ranks(const {dtype} *x, int32_t *rank)",
        )
        guard = f"{name.upper()}_H"
        header = "\n".join(
            [
                f"/* Sorting network of {self.n} wires, {len(self.layers)} layers, {len(self.low)} comparators. */",
                f"#ifndef {guard}", f"#define {guard}", "#include <stdint.h>",
                f"/* y: the {self.n} numbers of x in {'descending' if self.descending else 'ascending'} order. */",
                f"{declared[0]};", "/* rank: 1 for the number that comes first. */", f"{declared[1]};", "#endif", "",
            ]
        )  # fmt: skip
        swaps = [f"    {' '.join(f'SWAP({low}, {high});' for low, high in layer)}" for layer in self.layers]
        size, last = max(self.n, 1), self.n
        kept = f"    {dtype} v[{size}];\n    int i;\n    for (i = 0; i < {last}; i++) v[i] = x[i];"
        routed = f"    {dtype} v[{size}];\n    int32_t from[{size}];\n    int i;\n"
        routed += f"    for (i = 0; i < {last}; i++) {{ v[i] = x[i]; from[i] = i; }}\n    (void)v;"
        choose = f"{dtype} a = v[i], b = v[j]; int stay = a <= b; v[i] = stay ? a : b; v[j] = stay ? b : a;"
        route = "int32_t f = from[i], g = from[j]; from[i] = stay ? f : g; from[j] = stay ? g : f;"
        source = "\n".join(
            [
                f'#include "{name}.h"', "",
                f"#define SWAP(i, j) do {{ {choose} }} while (0)",
                f"{declared[0]} {{", kept, *swaps, f"    for (i = 0; i < {last}; i++) y[i] = v[i];", "}", "#undef SWAP", "",
                f"#define SWAP(i, j) do {{ {choose} {route} }} while (0)",
                f"{declared[1]} {{", routed, *swaps, f"    for (i = 0; i < {last}; i++) rank[from[i]] = i + 1;", "}", "#undef SWAP", "",
            ]
        )  # fmt: skip
        return c.CSource(name, header, source)

    def to_verilog(
        self, name: str = "sorter", *, width: int = 8, signed: bool = False, pipelined: bool = False
    ) -> verilog.VerilogSource:
        """Return a Verilog module that sorts n whole numbers: port x with number i in bits [(i + 1) width - 1 : i width], port y alike.

        Parameters
        ----------
        name : of the module.
        width : bits of a number.
        signed : two's complement, else unsigned.
        pipelined : a register after every layer and a port clk: one row a cycle, as many cycles late as there are layers.

        Raises
        ------
        ParameterError : a name that Verilog cannot have, a width below 1, no wire.
        """
        if width < 1 or self.n < 1:
            raise ParameterError(
                f"to_verilog() got width={width} for {self.n} wires; expected at least one bit and one wire."
            )
        sign = "signed " if signed else ""
        kind = "reg" if pipelined else "wire"
        now = [f"s0_{i}" for i in range(self.n)]
        body = [f"wire {sign}{verilog.bits(width)}{wire} = {verilog.part('x', i, width)};" for i, wire in enumerate(now)]  # fmt: skip
        for k, layer in enumerate(self.layers, start=1):
            chosen = dict.fromkeys(range(self.n), "")
            for low, high in layer:
                a, b = now[low], now[high]
                chosen[low], chosen[high] = f"({a} <= {b}) ? {a} : {b}", f"({a} <= {b}) ? {b} : {a}"
            body.append(f"// layer {k}")
            changed = [i for i, text in chosen.items() if text or pipelined]
            body += [f"{kind} {sign}{verilog.bits(width)}s{k}_{i};" for i in changed]
            texts = [(f"s{k}_{i}", chosen[i] or now[i]) for i in changed]
            if pipelined:
                body += ["always @(posedge clk) begin", *(f"    {a} <= {b};" for a, b in texts), "end"]
            else:
                body += [f"assign {a} = {b};" for a, b in texts]
            for i in changed:
                now[i] = f"s{k}_{i}"
        body += [f"assign {verilog.part('y', i, width)} = {wire};" for i, wire in enumerate(now)]
        bus = self.n * width
        ports = [verilog.Port("input", "x", bus), verilog.Port("output", "y", bus)]
        if pipelined:
            ports.insert(0, verilog.Port("input", "clk"))
        note = f"Sorting network of {self.n} wires, {len(self.layers)} layers, {len(self.low)} comparators."
        return verilog.VerilogSource(name, verilog.verilog_module(name, ports, body, note) + "\n")

    def _run(self, X: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """The sorted rows and where each of their elements came from."""
        values = np.array(X)
        if values.ndim < 1 or values.shape[-1] != self.n:
            raise DataError(
                f"the network sorts rows of {self.n} numbers, got an array of shape {values.shape}."
            )
        if values.dtype.kind not in "iuf":
            raise DataError(f"the network sorts real numbers, got an array of {values.dtype}.")
        if values.dtype.kind == "f" and np.isnan(values).any():
            raise DataError("the network got NaN, which has no place in an order. Remove or fill it.")
        route = np.broadcast_to(np.arange(self.n, dtype=np.int64), values.shape).copy()
        for layer in self.layers:
            low, high = np.array(layer, dtype=np.int64).T
            stay = values[..., low] <= values[..., high]
            for array in (values, route):
                a, b = array[..., low], array[..., high]
                array[..., low], array[..., high] = np.where(stay, a, b), np.where(stay, b, a)
        return values, route
