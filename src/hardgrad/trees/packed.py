"""The packed form of a forest: few-bit thresholds, weights and leaves on grids, one stream of bits. Never imports torch.

Layout: a header of 8 bytes (bits, trees, used features, outputs, flags) and, where there are oblique nodes, 4 more (bits of a weight and
of a sum, step of a sum); 8 bytes an output (leaf step and base as float32), 6 bytes a used feature (lowest cut as float32, step as
bfloat16) and one more where missing values were seen in training, then the trees in preorder. One bit says leaf or node; a leaf has one
code an output, a node has a feature and a threshold code. In a forest with oblique nodes two more bits say how many terms a node has;
one term is an axis node, more are a feature and a weight each, then a code for the threshold of their sum. Text of categories that the
trees tell apart is counted too. The C export of this form carries exactly these bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ArtifactError, ExportError
from hardgrad.trees.forest import LEAF, LINEAR, OBLIQUE, Forest
from hardgrad.trees.forest_build import ForestBuilder
from hardgrad.trees.forest_sums import require_plain
from hardgrad.trees.packing import Packing

HEADER = struct.Struct("<BBHHBB")
OBLIQUE_HEADER = struct.Struct("<BBH")
HAS_MISSING, HAS_OBLIQUE = 1, 2
TERM_BITS = 2


def bfloat16(value: float) -> float:
    """Round up to the next bfloat16 (8 significant bits) and return it as a float."""
    bits = struct.unpack("<I", struct.pack("<f", np.float32(value)))[0]
    return float(struct.unpack("<f", struct.pack("<I", (bits + 0xFFFF) & 0xFFFF0000))[0])


def grid_cuts(low: float, step: float, bits: int) -> NDArray[np.float64]:
    """Return the 2**bits - 1 thresholds of a grid."""
    return np.float64(np.float32(low)) + np.float64(step) * np.arange(2**bits - 1, dtype=np.float64)


def grid_scores(bits: int) -> NDArray[np.int32]:
    """Return the score of each interval between the thresholds of a grid: odd numbers around the 0 of a missing value."""
    return np.asarray(2 * np.arange(2**bits) - (2**bits - 1), dtype=np.int32)


def packed_features(forest: Forest) -> list[int]:
    """Return the features that nodes test, ascending. Raises `ExportError` for oblique nodes that are on no grid."""
    require_plain(forest, "the packed form", "Use to_c(form='double').")
    if not forest.is_axis and (forest.packing is None or not forest.packing.weight_bits):
        raise ExportError(
            "the packed form holds few-bit weights; this forest has oblique nodes with full ones. Train with a byte budget."
        )
    return [int(f) for f in forest.used_features()]


def bits_for(count: int) -> int:
    """Return the bits that tell `count` things apart."""
    return max(0, int(count - 1).bit_length())


@dataclass
class _Writer:
    bits: list[int]

    def put(self, value: int, width: int) -> None:
        self.bits += [(value >> k) & 1 for k in reversed(range(width))]


@dataclass
class _Reader:
    bits: NDArray[np.uint8]
    position: int = 0

    def get(self, width: int) -> int:
        value = 0
        for bit in self.bits[self.position : self.position + width]:
            value = 2 * value + int(bit)
        self.position += width
        return value

    def signed(self, width: int) -> int:
        return self.get(width) - (1 << (width - 1))


def pack(forest: Forest) -> bytes:
    """Return the bytes of a forest that was trained or compressed to a byte budget.

    Raises
    ------
    ExportError : the forest has no packing, or is not on its grids.
    """
    packing = _need_packing(forest)
    used = packed_features(forest)
    low = dict(zip(packing.features, packing.low, strict=True))
    step = dict(zip(packing.features, packing.step, strict=True))
    writer = _Writer([])
    for node in range(forest.n_nodes):  # nodes are stored in preorder (see `unpack`)
        if forest.feature[node] == LEAF:
            writer.put(1, 1)
            for v, unit in zip(forest.value[node], packing.leaf_step, strict=True):
                _put_signed(writer, float(v), unit, packing.leaf_bits, f"leaf value of node {node}")
            continue
        writer.put(0, 1)
        if forest.feature[node] == OBLIQUE:
            _put_oblique(writer, forest, packing, node, used)
            continue
        if packing.weight_bits:
            writer.put(0, TERM_BITS)
        f = int(forest.feature[node])
        code = round((float(forest.threshold[node]) - low[f]) / step[f])
        cuts = grid_cuts(low[f], step[f], packing.threshold_bits)
        if not 0 <= code < len(cuts) or cuts[code] != forest.threshold[node]:
            raise ExportError(
                f"threshold {forest.threshold[node]!r} of node {node} is not on the grid of the packed form."
            )
        writer.put(used.index(f), bits_for(len(used)))
        writer.put(code, packing.threshold_bits)
    flags = HAS_MISSING * packing.has_missing + HAS_OBLIQUE * bool(packing.weight_bits)
    head = HEADER.pack(
        packing.threshold_bits, packing.leaf_bits, forest.n_trees, len(used), forest.n_outputs, flags,
    )  # fmt: skip
    if packing.weight_bits:
        head += OBLIQUE_HEADER.pack(packing.weight_bits, packing.sum_bits, packing.sum_step)
        _check_scores(forest, packing)
    base = np.asarray([*packing.leaf_step, *forest.base], dtype="<f4").tobytes()
    missing = dict(zip(packing.features, packing.missing_code, strict=True))
    table = b"".join(struct.pack("<f", low[f]) + struct.pack("<f", step[f])[2:] for f in used)
    if packing.has_missing:
        table += bytes(missing[f] for f in used)
    return head + base + table + np.packbits(np.array(writer.bits, dtype=np.uint8)).tobytes()


def _put_signed(writer: _Writer, value: float, unit: float, width: int, what: str) -> None:
    """Write a whole multiple of a unit as a code of so many bits."""
    half, code = 2 ** (width - 1), round(value / unit)
    if code * unit != value or not -half <= code < half:
        raise ExportError(f"{what}, {value!r}, is not on the grid of the packed form.")
    writer.put(code + half, width)


def _put_oblique(writer: _Writer, forest: Forest, packing: Packing, node: int, used: list[int]) -> None:
    span = range(forest.term_offset[node], forest.term_offset[node + 1])
    if len(span) < 2:
        raise ExportError(f"node {node} is oblique but has one term; the packed form has it as a threshold.")
    writer.put(len(span) - 1, TERM_BITS)
    for k in span:
        writer.put(used.index(int(forest.term_feature[k])), bits_for(len(used)))
        _put_signed(writer, float(forest.term_weight[k]), 1.0, packing.weight_bits, f"weight of node {node}")
    total = float(forest.threshold[node])
    _put_signed(writer, total, packing.sum_step, packing.sum_bits, f"threshold of node {node}")


def _check_scores(forest: Forest, packing: Packing) -> None:
    """Refuse score tables other than those that the decoder computes from the grids."""
    for f in np.unique(forest.term_feature):
        k = packing.features.index(int(f))
        cuts = forest.cut[forest.cut_offset[f] : forest.cut_offset[f + 1]]
        scores = forest.score[forest.cut_offset[f] + f : forest.cut_offset[f + 1] + f + 1]
        grid = grid_cuts(packing.low[k], packing.step[k], packing.threshold_bits)
        if not np.array_equal(cuts, grid) or not np.array_equal(scores, grid_scores(packing.threshold_bits)):
            raise ExportError(f"the scores of feature {int(f)} are not those of its grid.")


def unpack(data: bytes, like: Forest) -> Forest:
    """Return the forest that packed bytes describe; columns, classes and link are taken from `like`.

    Raises
    ------
    ArtifactError : the bytes are not a packed forest of these columns.
    """
    try:
        return _unpack(data, like)
    except (struct.error, IndexError, ValueError) as error:
        raise ArtifactError(f"not a packed forest: {error}.") from error


def _unpack(data: bytes, like: Forest) -> Forest:
    t_bits, l_bits, n_trees, n_used, n_outputs, flags = HEADER.unpack_from(data)
    used = packed_features(like)
    at = HEADER.size
    w_bits, s_bits, s_step = OBLIQUE_HEADER.unpack_from(data, at) if flags & HAS_OBLIQUE else (0, 0, 1)
    at += OBLIQUE_HEADER.size if flags & HAS_OBLIQUE else 0
    leaf_step, base = np.frombuffer(data, "<f4", 2 * n_outputs, at).astype(np.float64).reshape(2, -1)
    at += 8 * n_outputs
    low = [struct.unpack_from("<f", data, at + 6 * k)[0] for k in range(n_used)]
    step = [struct.unpack("<f", b"\0\0" + data[at + 6 * k + 4 : at + 6 * k + 6])[0] for k in range(n_used)]
    at += 6 * n_used
    has_missing = flags & HAS_MISSING
    missing = list(data[at : at + n_used]) if has_missing else [2 ** (t_bits - 1)] * n_used
    at += n_used if has_missing else 0
    reader = _Reader(np.unpackbits(np.frombuffer(data, np.uint8, offset=at)))
    cuts = [grid_cuts(low[k], step[k], t_bits) for k in range(n_used)]
    builder = ForestBuilder(like.schema, n_outputs)
    summed: set[int] = set()
    for _ in range(n_trees):
        builder.start_tree()
        open_subtrees = 1
        while open_subtrees:
            if reader.get(1):
                builder.add_leaf([reader.signed(l_bits) * unit for unit in leaf_step])
                open_subtrees -= 1
                continue
            open_subtrees += 1
            n_terms = 1 + (reader.get(TERM_BITS) if w_bits else 0)
            if n_terms == 1:
                k, code = reader.get(bits_for(n_used)), reader.get(t_bits)
                builder.add_axis(used[k], float(cuts[k][code]), code >= missing[k])
                continue
            terms = [(reader.get(bits_for(n_used)), reader.signed(w_bits)) for _ in range(n_terms)]
            builder.add_oblique([(used[k], weight) for k, weight in terms], reader.signed(s_bits) * s_step)
            summed |= {k for k, _ in terms}
    return builder.finish(
        base=base,
        score_tables={used[k]: (cuts[k], grid_scores(t_bits)) for k in sorted(summed)},
        link=like.link,
        aggregation=like.aggregation,
        task=like.task,
        classes=like.classes,
        target=like.target,
    )


def packed_size(forest: Forest) -> int:
    """Return the bytes of data that the packed C form of a forest needs, category text included.

    Raises
    ------
    ExportError : the forest has no packing; `size_in_bytes` tells the size of any forest.
    """
    packing = _need_packing(forest)
    used = packed_features(forest)
    inner = np.array([(forest.feature != LEAF).sum()])
    more = 0
    if packing.weight_bits:
        more = 8 * OBLIQUE_HEADER.size + TERM_BITS * int(inner[0])
        more += int((forest.feature == OBLIQUE).sum()) * (
            packing.sum_bits - packing.threshold_bits - bits_for(len(used))
        )
        more += len(forest.term_feature) * (bits_for(len(used)) + packing.weight_bits)
    data = axis_bytes(
        inner, np.array([forest.n_leaves]), np.array([len(used)]), forest.n_outputs, packing.threshold_bits,
        packing.leaf_bits, packing.has_missing, more,
    )  # fmt: skip
    return int(data[0]) + category_bytes(forest, used)


def axis_bytes(
    inner: NDArray[np.int64],
    leaves: NDArray[np.int64],
    used: NDArray[np.int64],
    n_outputs: int,
    threshold_bits: int,
    leaf_bits: int,
    has_missing: bool,
    more_bits: int = 0,
) -> NDArray[np.int64]:
    """Return the bytes of axis-aligned forests by their inner nodes, leaves and used features, without category text.

    `more_bits` are those that oblique nodes take beyond this.
    """
    width = np.array([bits_for(int(count)) for count in used])
    bits = inner + leaves + inner * (width + threshold_bits) + leaves * n_outputs * leaf_bits + more_bits
    fixed = HEADER.size + 8 * n_outputs + (7 if has_missing else 6) * used
    return np.asarray(fixed + -(-bits // 8))


def category_bytes(forest: Forest, used: list[int]) -> int:
    """Return the bytes of category text (NUL-terminated) and one code byte a category and feature."""
    columns = {
        forest.schema.features[f].column for f in used if forest.schema.features[f].transform == "codes"
    }
    text = sum(len(c.encode()) + 1 for i in columns for c in forest.schema.columns[i].categories)
    codes = sum(len(forest.schema.features[f].codes) for f in used)
    return text + codes


def size_in_bytes(forest: Forest) -> int:
    """Return the bytes of data of the smallest exact C form: packed where the forest has a packing, else the plain arrays.

    Plain: 8 bytes of threshold, 2 of feature and 2 of child a node, 8 an output of a leaf, 4 a term, 10 a cut, 2 a score; 10 a term of
    a linear node and a slope of an affine leaf.
    """
    if forest.packing is not None:
        return packed_size(forest)
    inner = forest.n_nodes - forest.n_leaves
    used = [int(f) for f in forest.used_features()]
    real = int((np.diff(forest.term_offset) * (forest.feature == LINEAR)).sum())
    tables = 4 * (len(forest.term_feature) - real) + 10 * len(forest.cut)
    tables += 10 * (real + int(np.count_nonzero(forest.leaf_slope)))
    return 12 * inner + 8 * forest.n_outputs * forest.n_leaves + tables + category_bytes(forest, used)


def _need_packing(forest: Forest) -> Packing:
    require_plain(forest, "the packed form", "Use to_c(form='double').")
    if forest.packing is None:
        raise ExportError(
            "this forest has no packed form: its thresholds and leaves are full doubles. Train it with a byte budget "
            '(budget="2kB") or run `hardgrad compress MODEL --budget 2kB --data TABLE`.'
        )
    return forest.packing


def simplify_categories(forest: Forest) -> Forest:
    """Return the same function with fewer categories: those that every tree treats like an unseen one are dropped.

    A code becomes the number of thresholds below it, so that what is left is small; every decision stays as it was.
    """
    schema, packing = forest.schema, forest.packing
    features, columns = list(schema.features), list(schema.columns)
    threshold = forest.threshold.copy()
    oblique = {
        *forest.scored_features.tolist(),
        *forest.weighted_features.tolist(),
    }  # their codes have a meaning
    for i, column in enumerate(schema.columns):
        mine = [
            f for f, feature in enumerate(features) if feature.column == i and feature.transform == "codes"
        ]
        if not mine or oblique & set(mine):
            continue
        cuts = {f: np.unique(forest.threshold[forest.feature == f]) for f in mine}
        groups = {f: np.searchsorted(cuts[f], np.asarray(features[f].codes), side="left") for f in mine}
        keep = [k for k in range(len(column.categories)) if any(g[k] != g[-1] for g in groups.values())]
        columns[i] = replace(column, categories=tuple(column.categories[k] for k in keep))
        for f in mine:
            features[f] = replace(features[f], codes=tuple(float(groups[f][k]) for k in [*keep, -1]))
            at = forest.feature == f
            threshold[at] = np.searchsorted(cuts[f], forest.threshold[at])
            packing = _counting_grid(packing, f, cuts[f])
    changed: dict[str, Any] = {
        "schema": type(schema)(tuple(columns), tuple(features)),
        "threshold": threshold,
    }
    return replace(forest, packing=packing, **changed)


def _counting_grid(packing: Packing | None, f: int, cuts: NDArray[np.float64]) -> Packing | None:
    """The packing with the grid 0, 1, 2, .. for feature f, whose cuts so far become their positions."""
    if packing is None or f not in packing.features:
        return packing
    k = packing.features.index(f)
    codes = np.rint((cuts - packing.low[k]) / packing.step[k])

    def with_entry(values: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
        return (*values[:k], value, *values[k + 1 :])

    return replace(
        packing,
        low=with_entry(packing.low, 0.0),
        step=with_entry(packing.step, 1.0),
        missing_code=with_entry(packing.missing_code, int((codes < packing.missing_code[k]).sum())),
    )
