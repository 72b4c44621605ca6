/* The compiled runtime of hardgrad's forests: one source for every forest, the tables of runtime_tables.py are its arguments.
 * Needs gcc or clang (vector extensions), uses AVX-512 where the machine has it.
 * Compile with -O3 -march=native -ffp-contract=off. The order of every sum of doubles is part of the contract. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#if defined(__AVX512BW__)
#include <immintrin.h>
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

enum { BLOCK = 64, TILE = 256, GROUP = 8, FEW = 14 };

typedef struct { int32_t slot, rank, first, split; } test_t;
typedef struct { double threshold; int32_t slot, child; } step_t;

/* Mirrored field by field in runtime_c.py. */
typedef struct {
    int64_t n_features, n_used, n_oblique, n_linear, n_trees, n_outputs, n_slots, n_scratch, n_tested, wide, mean;
    const int32_t *used;
    const step_t *step;
    const int32_t *root;
    const double *value;
    const int32_t *node;
    const double *base;
    const int32_t *term_offset, *term_feature, *term_weight, *limit;
    const int32_t *cut_offset;
    const double *cut;
    const int32_t *score_offset, *score;
    const int32_t *rank_offset;
    const double *rank_cut;
    const int32_t *low_slot, *high_slot, *high_rank;
    const test_t *test;
    const int32_t *test_offset, *oblique_offset, *leaf_offset, *tested;
    const int32_t *linear; /* these three are for runtime_weighted.h */
    const double *linear_weight, *slope;
} forest_t;

/* What one call works with: `rows` rows of `width` doubles for steps, `score[u * stride + r]` for oblique nodes, slots for tests. */
typedef struct {
    double *row;
    int32_t *score;
    void *slots;
    int64_t width, stride;
} work_t;

/* ---- ranks ---- */

/* Number of entries below x of a sorted array padded by +inf to 2**k - 1 entries. NaN counts none. */
static inline int32_t count_below(const double *sorted, int32_t size, double x) {
    int32_t at = 0;
    for (int32_t half = (size + 1) >> 1; half; half >>= 1) at += sorted[at + half - 1] < x ? half : 0;
    return at;
}

/* The same for a block of values, in step, so that the searches overlap. */
static inline void count_below_block(const double *sorted, int32_t size, const double *x, int32_t *at) {
    for (int r = 0; r < BLOCK; r++) at[r] = 0;
    for (int32_t half = (size + 1) >> 1; half; half >>= 1) {
        const double *probe = sorted + half - 1;
        for (int r = 0; r < BLOCK; r++) at[r] += probe[at[r]] < x[r] ? half : 0;
    }
}

static inline void oblique_sums(const forest_t *f, int64_t k, const int32_t *score, int rows, int32_t *sum) {
    for (int r = 0; r < rows; r++) sum[r] = 0;
    for (int32_t t = f->term_offset[k]; t < f->term_offset[k + 1]; t++) {
        const int32_t *from = score + (int64_t)f->term_feature[t] * TILE, weight = f->term_weight[t];
        for (int r = 0; r < rows; r++) sum[r] += weight * from[r];
    }
}

#define CELL int8_t
#define UCELL uint8_t
#define BIAS 128
#define LANES 64
#define NAME(x) narrow_##x
#define MASK __mmask64
#define SET1(x) _mm512_set1_epi8(x)
#define GREATER(a, b) _mm512_cmpgt_epi8_mask(a, b)
#define EQUAL(m, a, b) _mm512_mask_cmpeq_epi8_mask(m, a, b)
#define MOVE(a, m, b) _mm512_mask_mov_epi8(a, m, b)
#include "runtime_cells.h"

#define CELL int16_t
#define UCELL uint16_t
#define BIAS 32768
#define LANES 32
#define NAME(x) wide_##x
#define MASK __mmask32
#define SET1(x) _mm512_set1_epi16(x)
#define GREATER(a, b) _mm512_cmpgt_epi16_mask(a, b)
#define EQUAL(m, a, b) _mm512_mask_cmpeq_epi16_mask(m, a, b)
#define MOVE(a, m, b) _mm512_mask_mov_epi16(a, m, b)
#include "runtime_cells.h"

/* ---- steps ---- */

/* Lay out one row for steps: the used features, the same with -inf for missing, -inf. */
static inline void lay_out(const forest_t *f, const double *x, double *row) {
    const int64_t n = f->n_used;
    for (int64_t u = 0; u < n; u++) {
        const double v = x[f->used[u]];
        row[u] = v;
        row[n + u] = v != v ? -INFINITY : v;
    }
    row[2 * n] = -INFINITY;
}

static inline int32_t score_of(const forest_t *f, int64_t u, double x) {
    if (x != x) return 0;
    return f->score[f->score_offset[u] + count_below(f->cut + f->cut_offset[u], f->cut_offset[u + 1] - f->cut_offset[u], x)];
}

static inline int oblique_right(const forest_t *f, int64_t k, const work_t *w, int64_t r) {
    int32_t sum = 0;
    for (int32_t t = f->term_offset[k]; t < f->term_offset[k + 1]; t++)
        sum += f->term_weight[t] * w->score[f->term_feature[t] * w->stride + r];
    return sum > f->limit[k];
}

/* Walk GROUP (row, tree) pairs down together until all stand at leaves; `at` goes from root to leaf. */
static inline __attribute__((always_inline)) void walk(
    const forest_t *f, const work_t *w, const int64_t *r, int64_t *at, const int oblique) {
    int64_t moved;
    do {
        moved = 0;
        for (int g = 0; g < GROUP; g++) {
            const step_t *step = f->step + at[g];
            int right;
            if (oblique && step->slot < 0) right = oblique_right(f, -1 - (int64_t)step->slot, w, r[g]);
            else right = !(w->row[r[g] * w->width + step->slot] <= step->threshold);
            moved |= (step->child + right) ^ at[g];
            at[g] = step->child + right;
        }
    } while (moved);
}

static inline __attribute__((always_inline)) void walk_any(const forest_t *f, const work_t *w, const int64_t *r, int64_t *at) {
    if (f->n_oblique) walk(f, w, r, at, 1);
    else walk(f, w, r, at, 0);
}

/* ---- rows ---- */

static inline void add_leaves(const forest_t *f, const int32_t *leaf, int rows, double *out) {
    const int64_t C = f->n_outputs;
    if (C == 1)
        for (int r = 0; r < rows; r++) out[r] += f->value[leaf[r]];
    else
        for (int r = 0; r < rows; r++)
            for (int64_t c = 0; c < C; c++) out[r * C + c] += f->value[leaf[r] * C + c];
}

static void start(const forest_t *f, int rows, double *out) {
    for (int r = 0; r < rows; r++)
        for (int64_t c = 0; c < f->n_outputs; c++) out[r * f->n_outputs + c] = f->base[c];
}

static void finish(const forest_t *f, int rows, double *out) {
    if (f->mean && f->n_trees)
        for (int64_t i = 0; i < rows * f->n_outputs; i++) out[i] /= (double)f->n_trees;
}

/* One row, GROUP trees at a time. */
static void one_row(const forest_t *f, const double *x, work_t *w, double *out, int32_t *nodes) {
    lay_out(f, x, w->row);
    if (f->n_oblique)
        for (int64_t u = 0; u < f->n_used; u++) w->score[u] = score_of(f, u, w->row[u]);
    if (out) start(f, 1, out);
    const int64_t r[GROUP] = {0};
    for (int64_t e = 0; e < f->n_trees; e += GROUP) {
        const int count = f->n_trees - e < GROUP ? (int)(f->n_trees - e) : GROUP;
        int64_t at[GROUP];
        for (int g = 0; g < GROUP; g++) at[g] = f->root[e + (g < count ? g : 0)];
        walk_any(f, w, r, at);
        for (int g = 0; g < count; g++) {
            const int32_t leaf = (int32_t)f->step[at[g]].threshold;
            if (out) add_leaves(f, &leaf, 1, out);
            else nodes[e + g] = f->node[leaf];
        }
    }
    if (out) finish(f, 1, out);
}

/* Rows for one stepped tree, GROUP at a time. */
static void step_tree(const forest_t *f, int64_t e, const work_t *w, int rows, int32_t *leaf) {
    for (int first = 0; first < rows; first += GROUP) {
        int64_t r[GROUP], at[GROUP];
        for (int g = 0; g < GROUP; g++) {
            r[g] = first + g < rows ? first + g : first;
            at[g] = f->root[e];
        }
        walk_any(f, w, r, at);
        for (int g = 0; g < GROUP && first + g < rows; g++) leaf[first + g] = (int32_t)f->step[at[g]].threshold;
    }
}

/* Leaf numbers of a tested tree. */
static void test_tree(const forest_t *f, int64_t e, const work_t *w, int blocks, int32_t *leaf) {
    const test_t *test = f->test + f->test_offset[e];
    const int32_t n = f->test_offset[e + 1] - f->test_offset[e];
    for (int64_t k = f->oblique_offset[e]; k < f->oblique_offset[e + 1]; k++) {
        const int64_t slot = (f->n_slots + k - f->oblique_offset[e]) * TILE;
        if (f->wide) wide_fill_oblique(f, k, w->score, blocks, (int16_t *)w->slots + slot);
        else narrow_fill_oblique(f, k, w->score, blocks, (int8_t *)w->slots + slot);
    }
    if (f->wide) wide_test_tree(test, n, w->slots, blocks, leaf);
    else narrow_test_tree(test, n, w->slots, blocks, leaf);
    for (int r = 0; r < blocks * BLOCK; r++) leaf[r] += f->leaf_offset[e];
}

/* Prepare a tile: ranks for tests, scores for oblique nodes, laid out rows for steps. */
static void open_tile(const forest_t *f, const double *X, int rows, int blocks, work_t *w) {
    double x[TILE];
    for (int64_t u = 0; u < f->n_used; u++) {
        for (int r = 0; r < rows; r++) x[r] = X[r * f->n_features + f->used[u]];
        for (int r = rows; r < blocks * BLOCK; r++) x[r] = 0.0;
        if (f->wide) wide_fill(f, u, x, blocks, w->slots);
        else narrow_fill(f, u, x, blocks, w->slots);
        if (f->n_oblique)
            for (int r = 0; r < blocks * BLOCK; r++) w->score[u * TILE + r] = score_of(f, u, x[r]);
    }
    if (f->n_tested < f->n_trees)
        for (int r = 0; r < rows; r++) lay_out(f, X + r * f->n_features, w->row + r * w->width);
}

static void tile(const forest_t *f, const double *X, int rows, work_t *w, double *out, int32_t *nodes) {
    const int blocks = (rows + BLOCK - 1) / BLOCK;
    open_tile(f, X, rows, blocks, w);
    if (out) start(f, rows, out);
    for (int64_t e = 0; e < f->n_trees; e++) {
        int32_t leaf[TILE];
        if (f->tested[e]) test_tree(f, e, w, blocks, leaf);
        else step_tree(f, e, w, rows, leaf);
        if (out) add_leaves(f, leaf, rows, out);
        else
            for (int r = 0; r < rows; r++) nodes[r * f->n_trees + e] = f->node[leaf[r]];
    }
    if (out) finish(f, rows, out);
}

/* Score n rows of X [n, n_features]: raw scores into out [n, n_outputs] or, where out is NULL, leaves into nodes [n, n_trees].
 * Returns 0, or 1 where there is no memory. Writes nothing but its output: any number of threads may share a forest. */
int hardgrad_run(const forest_t *f, const double *X, int64_t n, double *out, int32_t *nodes) {
    const int few = n <= FEW;
    const int64_t rows = few ? 1 : TILE;
    work_t w = {.width = 2 * f->n_used + 1, .stride = rows};
    const size_t row_bytes = (size_t)(few || f->n_tested < f->n_trees ? rows * w.width : 0) * sizeof(double);
    const size_t score_bytes = (size_t)(f->n_oblique ? rows * f->n_used : 0) * sizeof(int32_t);
    const size_t slot_bytes = (size_t)(few ? 0 : (f->n_slots + f->n_scratch) * TILE) * (f->wide ? 2 : 1);
    char *memory = malloc(row_bytes + score_bytes + slot_bytes + 1);
    if (!memory) return 1;
    w.row = (double *)memory;
    w.score = (int32_t *)(memory + row_bytes);
    w.slots = memory + row_bytes + score_bytes;
    for (int64_t r = 0; r < n; r += rows) {
        const int count = n - r < rows ? (int)(n - r) : (int)rows;
        double *o = out ? out + r * f->n_outputs : NULL;
        int32_t *leaves = out ? NULL : nodes + r * f->n_trees;
        if (few) one_row(f, X + r * f->n_features, &w, o, leaves);
        else tile(f, X + r * f->n_features, count, &w, o, leaves);
    }
    free(memory);
    return 0;
}

#include "runtime_weighted.h"
