"""The exact sorting network against NumPy, its C through the compiler, its Verilog through an evaluator of its assignments."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from contracts.examples import run_network_in_c
from hardgrad.core.errors import ArtifactError, DataError, ParameterError
from hardgrad.export.compiled_c import has_compiler
from hardgrad.nn import ComparatorNetwork


@pytest.mark.parametrize("network", ["odd_even", "bitonic"])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("n", [0, 1, 2, 5, 8, 11, 33])
def test_sorts_and_ranks_as_numpy_does(network: str, descending: bool, n: int) -> None:
    sorter = ComparatorNetwork.build(network, n, descending=descending)
    generator = np.random.default_rng(n)
    for x in (
        generator.normal(size=(30, n)),
        generator.integers(0, 4, (2, 15, n)),
        generator.normal(size=n).astype(np.float32),
    ):
        order = np.sort(x, axis=-1)
        exact = order[..., ::-1] if descending else order
        said, ranks = sorter.predict(x), sorter.ranks(x)
        assert said.dtype == x.dtype and np.array_equal(said, exact)
        assert np.array_equal(np.sort(ranks, -1), np.broadcast_to(np.arange(1, n + 1), x.shape))
        assert np.array_equal(np.take_along_axis(exact, ranks - 1, -1), x)


def test_all_zeros_and_ones_up_to_sixteen_wires() -> None:
    for n in range(1, 17):
        assert ComparatorNetwork.build("bitonic", n).unsorted_inputs() == 0
    assert ComparatorNetwork.build("odd_even", 9, descending=True).unsorted_inputs() == 0
    broken = ComparatorNetwork(3, *(np.array(a, np.int32) for a in ([0, 1], [1, 2], [0, 1, 2])))

    def through(bits: tuple[int, ...]) -> list[int]:
        first = [*sorted(bits[:2]), bits[2]]
        return [first[0], *sorted(first[1:])]

    assert (
        broken.unsorted_inputs()
        == sum(through(b) != sorted(b) for b in itertools.product((0, 1), repeat=3))
        > 0
    )
    with pytest.raises(ArtifactError, match="uncompared"):
        ComparatorNetwork(3, *(np.array(a, np.int32) for a in ([0], [1], [0, 1])))
    with pytest.raises(ParameterError, match="at most 24"):
        ComparatorNetwork.build("bitonic", 25).unsorted_inputs()


def test_what_does_not_fit_is_refused() -> None:
    sorter = ComparatorNetwork.build("bitonic", 3)
    for bad in (
        np.zeros((2, 4)),
        np.float64(1.0),
        [[1.0, np.nan, 2.0]],
        [["a", "b", "c"]],
        [[1j, 0, 0]],
        [[True, False, True]],
    ):
        with pytest.raises(DataError):
            sorter.predict(bad)
    arrays = {"low": [0, 1], "high": [1, 2], "layer_offset": [0, 1, 2]}
    for name, wrong in (
        ("low", [0]),
        ("high", [1, 3]),
        ("high", [1, -1]),
        ("low", [0, 2]),
        ("layer_offset", [0, 2]),
        ("layer_offset", [0, 0, 2]),
    ):
        with pytest.raises(ArtifactError):
            ComparatorNetwork(3, **{k: np.array(v, np.int32) for k, v in (arrays | {name: wrong}).items()})
    for call in (
        lambda: sorter.to_c("double"),
        lambda: sorter.to_c(dtype="long"),
        lambda: sorter.to_verilog("module"),
        lambda: sorter.to_verilog(width=0),
        lambda: ComparatorNetwork.build("bitonic", -1),
    ):
        with pytest.raises(ParameterError):
            call()


@pytest.mark.skipif(not has_compiler(), reason="no C compiler on this machine")
@pytest.mark.parametrize(("network", "n"), [("odd_even", 6), ("bitonic", 9)])
def test_c_sorts_all_zeros_and_ones(network: str, n: int, tmp_path: Path) -> None:
    sorter = ComparatorNetwork.build(network, n)
    x = np.array(list(itertools.product((0.0, 1.0), repeat=n)))
    values, ranks = run_network_in_c(sorter, x)
    assert np.array_equal(values, np.sort(x, -1)) and np.array_equal(ranks, sorter.ranks(x))
    header, source = sorter.to_c("net", dtype="int16_t").write(tmp_path)
    subprocess.run(
        ["cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-c", source.name], check=True, cwd=tmp_path
    )
    assert header.name == "net.h"


def simulate(source: str, x: np.ndarray, width: int, signed: bool, cycles: int) -> np.ndarray:
    """Rows through the assignments of a module, clock by clock where it has registers."""
    mask = (1 << width) - 1
    n = x.shape[1]

    def number(bits: np.ndarray) -> np.ndarray:
        return np.where(bits >> (width - 1) & 1, bits - (1 << width), bits) if signed else bits

    signals = {}
    for name, high, low in re.findall(
        r"wire (?:signed )?(?:\[\d+:0\] )?(s0_\d+) = x\[(\d+)(?::(\d+))?\];", source
    ):
        assert not low or int(high) - int(low) == width - 1
        signals[name] = number(x[:, int(low or high) // width].astype(np.int64) & mask)
    moves = re.findall(
        r"(?:assign )?(s[1-9]\d*_\d+) <?= (?:\((\w+) <= (\w+)\) \? (\w+) : (\w+)|(\w+));", source
    )
    for target, *_ in moves:
        assert re.search(rf"(reg|wire) {'signed ' if signed else ''}(\[\d+:0\] )?{target};", source)
    for _ in range(cycles):
        before = dict(signals) if cycles > 1 else signals
        for target, a, b, yes, no, same in moves:
            if (same or a) in before and (same or b) in before:
                signals[target] = (
                    before[same] if same else np.where(before[a] <= before[b], before[yes], before[no])
                )
    outputs = re.findall(r"assign y\[(\d+)(?::(\d+))?\] = (\w+);", source)
    assert [int(low or high) // width for high, low, _ in outputs] == list(range(n))
    return np.stack([signals[name] for _, _, name in outputs], axis=1)


@pytest.mark.parametrize("pipelined", [False, True])
@pytest.mark.parametrize(("width", "signed"), [(1, False), (4, True), (8, False)])
@pytest.mark.parametrize(
    ("network", "n", "descending"), [("odd_even", 5, False), ("bitonic", 7, True), ("bitonic", 1, False)]
)
def test_verilog_sorts(
    network: str, n: int, descending: bool, width: int, signed: bool, pipelined: bool, tmp_path: Path
) -> None:
    sorter = ComparatorNetwork.build(network, n, descending=descending)
    code = sorter.to_verilog("sorter", width=width, signed=signed, pipelined=pipelined)
    low, high = (-(1 << width - 1), 1 << width - 1) if signed else (0, 1 << width)
    x = np.random.default_rng(0).integers(low, high, (100, n))
    cycles = len(sorter.layers) if pipelined else 1
    assert np.array_equal(simulate(code.source, x, width, signed, max(cycles, 1)), sorter.predict(x))
    assert code.source.count("endmodule") == 1 and ("clk" in code.source) == pipelined
    path = code.write(tmp_path)
    for tool in (["iverilog", "-t", "null"], ["yosys", "-q", "-p", "synth", "-f", "verilog"]):
        if shutil.which(tool[0]):
            subprocess.run([*tool, str(path)], check=True)
