"""Loops of circuits compiled by numba, once for all circuits: the same steps as runtime_kernel.c. Never imports torch."""

from __future__ import annotations

import numpy as np

from hardgrad.core.kernels import kernel

# mypy: disable-error-code="no-untyped-def"


@kernel
def pack_tile(rows, count, input_wire, input_place, state, at, octets, tile):
    """Pack at most 64 rows of bytes 0 and 1 into word `at` of every input. In between, `octets` [8, inputs] holds eight rows a byte."""
    octets[:] = 0
    for r in range(count - 1, -1, -1):
        into, row = octets[r >> 3], rows[r]
        for c in range(len(row)):
            into[c] = into[c] + into[c] | row[c]
    tile[:] = 0
    for k in range(8):
        eight, shift = octets[k], np.uint64(8 * k)
        for c in range(len(tile)):
            tile[c] |= np.uint64(eight[c]) << shift
    for i in range(len(input_wire)):
        state[input_place[i], at] = tile[input_wire[i]]


@kernel
def pack_above(x, feature, threshold, out, start, stop):
    """Write words `start:stop` of packed bits [bits, words]: whether a feature of a row of numbers is above a threshold."""
    tile = np.empty(len(feature), np.uint64)
    for w in range(start, stop):
        tile[:] = 0
        for r in range(min(64, len(x) - 64 * w)):
            row, shift = x[64 * w + r], np.uint64(r)
            for i in range(len(tile)):
                tile[i] |= np.uint64(row[feature[i]] > threshold[i]) << shift
        for i in range(len(tile)):
            out[i, w] = tile[i]


@kernel
def run_gates(gate, left, right, target, masks, state, count):
    """Evaluate every gate on `count` words: c0 ^ c1 a ^ c2 b ^ c3 ab."""
    for g in range(len(gate)):
        a, b, result = state[left[g]], state[right[g]], state[target[g]]
        c0, c1, c2, c3 = masks[gate[g], 0], masks[gate[g], 1], masks[gate[g], 2], masks[gate[g], 3]
        for w in range(count):
            result[w] = ((c1 ^ (c3 & b[w])) & a[w]) ^ ((c2 & b[w]) ^ c0)


@kernel
def count_group(member, start, stop, shift, output_place, state, count, planes):
    """Add outputs, times two to the shift, to planes of bits [planes, words], by carry-save adders."""
    n_planes = len(planes)
    m = start
    while m + 4 <= stop and shift + 2 <= n_planes:
        a, b = state[output_place[member[m]]], state[output_place[member[m + 1]]]
        c, d = state[output_place[member[m + 2]]], state[output_place[member[m + 3]]]
        for w in range(count):
            ones, twos = planes[shift, w], planes[shift + 1, w]
            first = (a[w] & b[w]) | (ones & (a[w] ^ b[w]))
            partial = ones ^ a[w] ^ b[w]
            second = (c[w] & d[w]) | (partial & (c[w] ^ d[w]))
            carry = (first & second) | (twos & (first ^ second))
            planes[shift, w] = partial ^ c[w] ^ d[w]
            planes[shift + 1, w] = twos ^ first ^ second
            for k in range(shift + 2, n_planes):
                following = planes[k, w] & carry
                planes[k, w] ^= carry
                carry = following
        m += 4
    while m < stop:
        a = state[output_place[member[m]]]
        for w in range(count):
            carry = a[w]
            for k in range(shift, n_planes):
                following = planes[k, w] & carry
                planes[k, w] ^= carry
                carry = following
        m += 1


@kernel
def keep_larger(planes, best, index, group, count):
    """Keep the first group with the largest count, in bits of its number."""
    for w in range(count):
        more, less = np.uint64(0), np.uint64(0)
        for k in range(len(planes) - 1, -1, -1):
            more |= planes[k, w] & ~best[k, w] & ~less
            less |= ~planes[k, w] & best[k, w] & ~more
        for k in range(len(planes)):
            best[k, w] = (more & planes[k, w]) | (~more & best[k, w])
        for j in range(len(index)):
            index[j, w] = index[j, w] | more if group >> j & 1 else index[j, w] & ~more


@kernel
def spread(planes, count, into):
    """Write the numbers that planes of bits hold, one a row."""
    for w in range(count):
        for i in range(min(64, len(into) - 64 * w)):
            number = np.uint64(0)
            for k in range(len(planes)):
                number |= (planes[k, w] >> np.uint64(i) & np.uint64(1)) << np.uint64(k)
            into[64 * w + i] = np.int32(number)


@kernel
def run_circuit(
    words, rows, out, counts, winner, n_rows, start, stop, lanes, gate, left, right, target, input_wire, input_place, output_place,
    masks, member, member_start, n_shifts, n_planes, n_index, state, octets, tile,
):  # fmt: skip
    """Evaluate words `start:stop` of packed inputs, or of rows where there are any, into what is not empty: outputs, counts, winners."""
    n_groups = (len(member_start) - 1) // n_shifts
    planes, best = np.empty((n_planes, lanes), np.uint64), np.empty((n_planes, lanes), np.uint64)
    index = np.empty((n_index, lanes), np.uint64)
    for first in range(start, stop, lanes):
        count = min(lanes, stop - first)
        if rows.shape[0]:
            for w in range(count):
                row = 64 * (first + w)
                pack_tile(
                    rows[row : row + 64],
                    min(64, n_rows - row),
                    input_wire,
                    input_place,
                    state,
                    w,
                    octets,
                    tile,
                )
        else:
            for i in range(len(input_wire)):
                for w in range(count):
                    state[input_place[i], w] = words[input_wire[i], first + w]
        run_gates(gate, left, right, target, masks, state, count)
        for o in range(out.shape[0]):
            for w in range(count):
                out[o, first + w] = state[output_place[o], w]
        if counts.shape[0] or len(winner):
            best[:] = 0
            index[:] = 0
            stop_row = min(n_rows, 64 * (first + count))
            for group in range(n_groups):
                planes[:] = 0
                for shift in range(n_shifts):
                    at = group * n_shifts + shift
                    count_group(
                        member,
                        member_start[at],
                        member_start[at + 1],
                        shift,
                        output_place,
                        state,
                        count,
                        planes,
                    )
                if counts.shape[0]:
                    spread(planes, count, counts[64 * first : stop_row, group])
                if len(winner):
                    keep_larger(planes, best, index, group, count)
            if len(winner):
                spread(index, count, winner[64 * first : stop_row])
