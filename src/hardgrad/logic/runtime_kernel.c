/* Runs any circuit: compiled once a machine. A vector is a register of the processor: gcc splits wider ones badly. */
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define VECTOR_WORDS 8
#elif defined(__AVX2__)
#define VECTOR_WORDS 4
#else
#define VECTOR_WORDS 2
#endif
#define VECTOR_ROWS (64 * VECTOR_WORDS)
#define VECTORS_A_CHUNK (8 / VECTOR_WORDS) /* a chunk is 512 rows on all processors */

typedef uint64_t vector __attribute__((vector_size(8 * VECTOR_WORDS), aligned(8 * VECTOR_WORDS)));

#define MOST_PLANES 32

/* Field by field what runtime_c.py fills in. */
typedef struct {
    int64_t n_gates, n_used, n_outputs, n_inputs, n_groups, n_shifts, n_planes, n_index;
    const uint8_t *gate;
    const int32_t *left, *right, *target, *input_wire, *input_place, *output_place;
    const uint64_t *masks;       /* [16][4], c0 to c3 of every gate */
    const int32_t *member;       /* places to be counted, by group and by bit of their weight */
    const int32_t *member_start; /* [groups * shifts + 1] */
} program_t;

#ifdef HARDGRAD_GATES
/* The gates of one circuit, one after the other: all_parts takes every stride-th vector of its inputs to those of its outputs. */
#include HARDGRAD_GATES
static void run_gates(const program_t *p, vector *state, int64_t width)
{
    for (int64_t w = 0; w < width; w++)
        all_parts(state + w, state + p->n_used * width + w, width);
}
#else
/* Every gate is c0 ^ c1 a ^ c2 b ^ c3 ab: no branch depends on it. */
#define GATES(CHUNKS)                                                                                                  \
    static void gates_##CHUNKS(const program_t *p, vector *state)                                                      \
    {                                                                                                                  \
        enum { WIDTH = CHUNKS * VECTORS_A_CHUNK };                                                                     \
        for (int64_t g = 0; g < p->n_gates; g++) {                                                                     \
            const uint64_t *m = p->masks + 4 * p->gate[g];                                                             \
            const vector c0 = m[0] - (vector){0}, c1 = m[1] - (vector){0}, c2 = m[2] - (vector){0},                    \
                         c3 = m[3] - (vector){0};                                                                      \
            const vector *a = state + (int64_t)p->left[g] * WIDTH, *b = state + (int64_t)p->right[g] * WIDTH;          \
            vector *r = state + (int64_t)p->target[g] * WIDTH;                                                         \
            for (int w = 0; w < WIDTH; w++)                                                                            \
                r[w] = ((c1 ^ (c3 & b[w])) & a[w]) ^ ((c2 & b[w]) ^ c0);                                               \
        }                                                                                                              \
    }
GATES(1)
GATES(2)
GATES(4)
GATES(8)

static void run_gates(const program_t *p, vector *state, int64_t width)
{
    switch (width / VECTORS_A_CHUNK) {
    case 1: gates_1(p, state); break;
    case 2: gates_2(p, state); break;
    case 4: gates_4(p, state); break;
    default: gates_8(p, state); break;
    }
}
#endif

/* Eight rows of bytes 0 and 1 -> one row of bytes, the first row the lowest bit. */
static void pack_octet(const uint8_t *restrict rows, uint8_t *restrict into, int64_t n)
{
    for (int64_t c = 0; c < n; c++) {
        uint8_t byte = rows[7 * n + c];
        for (int r = 6; r >= 0; r--)
            byte = (uint8_t)(byte + byte) | rows[r * n + c];
        into[c] = byte;
    }
}

/* At most 64 rows of bytes 0 and 1 -> word `at` of every input. In between, `octets` [8][inputs] holds eight rows a byte. */
static void pack_tile(const program_t *p, const uint8_t *restrict rows, int64_t count, uint64_t *state, int64_t lanes,
                      int64_t at, uint8_t *restrict octets, uint64_t *restrict tile)
{
    const int64_t n = p->n_inputs, whole = count / 8;
    for (int64_t k = 0; k < whole; k++)
        pack_octet(rows + 8 * k * n, octets + k * n, n);
    memset(octets + whole * n, 0, (size_t)((8 - whole) * n));
    for (int64_t r = count - 1; r >= 8 * whole; r--) {
        uint8_t *restrict into = octets + (r >> 3) * n;
        const uint8_t *restrict row = rows + r * n;
        for (int64_t c = 0; c < n; c++)
            into[c] = (uint8_t)(into[c] + into[c]) | row[c];
    }
    for (int64_t c = 0; c < n; c++) {
        uint64_t word = 0;
        for (int k = 0; k < 8; k++)
            word |= (uint64_t)octets[k * n + c] << (8 * k);
        tile[c] = word;
    }
    for (int64_t i = 0; i < p->n_used; i++)
        state[p->input_place[i] * lanes + at] = tile[p->input_wire[i]];
}

static void ripple(vector *planes, int64_t from, int64_t to, vector carry)
{
    for (int64_t k = from; k < to; k++) {
        const vector next = planes[k] & carry;
        planes[k] ^= carry;
        carry = next;
    }
}

/* How many members of a group are 1, weighted, in each row of a vector: as planes of bits, by carry-save adders. */
static void count_group(const program_t *p, const vector *state, int64_t width, int64_t w, int64_t group, vector *planes)
{
    for (int64_t k = 0; k < p->n_planes; k++)
        planes[k] = (vector){0};
    for (int64_t shift = 0; shift < p->n_shifts; shift++) {
        const int32_t *start = p->member_start + group * p->n_shifts + shift;
        int64_t m = start[0];
        if (shift + 2 <= p->n_planes) {
            vector ones = planes[shift], twos = planes[shift + 1];
            for (; m + 4 <= start[1]; m += 4) {
                const vector a = state[p->member[m] * width + w], b = state[p->member[m + 1] * width + w],
                             c = state[p->member[m + 2] * width + w], d = state[p->member[m + 3] * width + w];
                const vector first = (a & b) | (ones & (a ^ b)), s = ones ^ a ^ b;
                const vector second = (c & d) | (s & (c ^ d));
                const vector fours = (first & second) | (twos & (first ^ second));
                ones = s ^ c ^ d;
                twos = twos ^ first ^ second;
                ripple(planes, shift + 2, p->n_planes, fours);
            }
            planes[shift] = ones;
            planes[shift + 1] = twos;
        }
        for (; m < start[1]; m++)
            ripple(planes, shift, p->n_planes, state[p->member[m] * width + w]);
    }
}

/* The first group with the largest count, in bits of its number. */
static void keep_larger(const program_t *p, const vector *planes, vector *best, vector *index, int64_t group)
{
    vector more = {0}, less = {0};
    for (int64_t k = p->n_planes - 1; k >= 0; k--) {
        more |= planes[k] & ~best[k] & ~less;
        less |= ~planes[k] & best[k] & ~more;
    }
    for (int64_t k = 0; k < p->n_planes; k++)
        best[k] = (more & planes[k]) | (~more & best[k]);
    for (int64_t j = 0; j < p->n_index; j++)
        index[j] = group >> j & 1 ? index[j] | more : index[j] & ~more;
}

static void spread(const vector *planes, int64_t n_planes, int32_t *into, int64_t stride, int64_t rows)
{
    for (int64_t first = 0; first < rows; first += 64) {
        const int64_t count = rows - first < 64 ? rows - first : 64;
        int32_t number[64] = {0};
        for (int64_t k = 0; k < n_planes; k++) {
            const uint64_t word = planes[k][first >> 6];
            for (int i = 0; i < 64; i++)
                number[i] |= (int32_t)((word >> i & 1) << k);
        }
        for (int64_t i = 0; i < count; i++)
            into[(first + i) * stride] = number[i];
    }
}

static void write_counts(const program_t *p, const vector *state, int64_t width, int64_t row, int64_t n_rows, int32_t *counts,
                         int32_t *winner)
{
    for (int64_t w = 0; w < width && row < n_rows; w++, row += VECTOR_ROWS) {
        const int64_t rows = n_rows - row < VECTOR_ROWS ? n_rows - row : VECTOR_ROWS;
        vector planes[MOST_PLANES], best[MOST_PLANES] = {0}, index[MOST_PLANES] = {0};
        for (int64_t group = 0; group < p->n_groups; group++) {
            count_group(p, state, width, w, group, planes);
            if (counts)
                spread(planes, p->n_planes, counts + row * p->n_groups + group, p->n_groups, rows);
            if (winner)
                keep_larger(p, planes, best, index, group);
        }
        if (winner)
            spread(index, p->n_index, winner + row, 1, rows);
    }
}

/* Words start..stop. In: packed [inputs, words], or rows [n_rows, inputs] of bytes 0 and 1. Out: packed [outputs, words], counts
   [n_rows, groups], winner [n_rows]; what is null is not asked for. A block has 1, 2, 4 or 8 chunks of 512 rows. */
void hardgrad_run_circuit(const program_t *p, const uint64_t *in, const uint8_t *rows, uint64_t *out, int32_t *counts,
                          int32_t *winner, int64_t n_rows, int64_t words, int64_t start, int64_t stop, int64_t chunks,
                          vector *state, uint8_t *octets, uint64_t *tile)
{
    const int64_t lanes = 8 * chunks, width = chunks * VECTORS_A_CHUNK;
    for (int64_t first = start; first < stop; first += lanes) {
        const int64_t count = stop - first < lanes ? stop - first : lanes;
        if (in)
            for (int64_t i = 0; i < p->n_used; i++)
                memcpy(state + p->input_place[i] * width, in + p->input_wire[i] * words + first, 8 * (size_t)count);
        else
            for (int64_t w = 0; w < count; w++) {
                const int64_t row = 64 * (first + w), left = n_rows - row;
                pack_tile(p, rows + row * p->n_inputs, left < 64 ? left : 64, (uint64_t *)state, lanes, w, octets, tile);
            }
        run_gates(p, state, width);
        if (out)
            for (int64_t o = 0; o < p->n_outputs; o++)
                memcpy(out + o * words + first, state + p->output_place[o] * width, 8 * (size_t)count);
        if (counts || winner)
            write_counts(p, state, width, 64 * first, n_rows < 64 * stop ? n_rows : 64 * stop, counts, winner);
    }
}

/* Words start..stop of packed bits [n_bits, words]: whether feature[i] of a row of doubles is above threshold[i]. `tile` has n_bits words. */
void hardgrad_pack_above(const double *restrict x, const int32_t *restrict feature, const double *restrict threshold,
                         uint64_t *restrict out, int64_t n_rows, int64_t n_features, int64_t n_bits, int64_t words,
                         int64_t start, int64_t stop, uint64_t *restrict tile)
{
    for (int64_t w = start; w < stop; w++) {
        const int64_t left = n_rows - 64 * w, count = left < 64 ? left : 64;
        memset(tile, 0, 8 * (size_t)n_bits);
        for (int64_t r = 0; r < count; r++) {
            const double *restrict row = x + (64 * w + r) * n_features;
            for (int64_t i = 0; i < n_bits; i++)
                tile[i] |= (uint64_t)(row[feature[i]] > threshold[i]) << r;
        }
        for (int64_t i = 0; i < n_bits; i++)
            out[i * words + w] = tile[i];
    }
}
