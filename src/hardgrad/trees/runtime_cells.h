/* The part of runtime_kernel.c that depends on the width of a cell; included once for 8 and once for 16 bits.
 * The includer defines CELL (signed), UCELL, BIAS, LANES (cells of 64 bytes) and NAME(x).
 *
 * Ranks are stored minus BIAS, because signed comparison is what every SIMD instruction set has. Leaf numbers are only compared
 * for equality and wrap around. */

/* Write the ranks of `blocks` x BLOCK values of feature u into its slots. */
static void NAME(fill)(const forest_t *f, int64_t u, const double *x, int blocks, CELL *slots) {
    const int64_t low = f->low_slot[u], high = f->high_slot[u];
    const int32_t missing = f->high_rank[u];
    if (low < 0 && high < 0) return;
    for (int b = 0; b < blocks; b++, x += BLOCK) {
        int32_t rank[BLOCK];
        count_below_block(f->rank_cut + f->rank_offset[u], f->rank_offset[u + 1] - f->rank_offset[u], x, rank);
        if (low >= 0) {
            CELL *to = slots + low * TILE + b * BLOCK;
            for (int r = 0; r < BLOCK; r++) to[r] = (CELL)(rank[r] - BIAS);
        }
        if (high >= 0) {
            CELL *to = slots + high * TILE + b * BLOCK;
            for (int r = 0; r < BLOCK; r++) to[r] = (CELL)((x[r] != x[r] ? missing : rank[r]) - BIAS);
        }
    }
}

/* Find the leaves of `count` x LANES rows: apply every test of one tree. `count` is a constant where this is inlined, so that
 * `stand`, the leaves where the rows stand, lives in registers. */
#if defined(__AVX512BW__)
static inline __attribute__((always_inline)) void NAME(run)(
    const test_t *test, int32_t n, const CELL *slots, UCELL *leaf, const int count) {
    __m512i stand[TILE / LANES];
    for (int b = 0; b < count; b++) stand[b] = _mm512_setzero_si512();
    for (int32_t i = 0; i < n; i++) {
        const CELL *x = slots + (int64_t)test[i].slot * TILE;
        const __m512i rank = SET1((CELL)(test[i].rank - BIAS)), first = SET1((CELL)test[i].first);
        const __m512i split = SET1((CELL)test[i].split);
        for (int b = 0; b < count; b++) {
            MASK right = GREATER(_mm512_loadu_si512(x + b * LANES), rank);
            stand[b] = MOVE(stand[b], EQUAL(right, stand[b], first), split);
        }
    }
    for (int b = 0; b < count; b++) _mm512_storeu_si512(leaf + b * LANES, stand[b]);
}
#else
typedef CELL NAME(vector) __attribute__((vector_size(VECTOR_BYTES), aligned(1), may_alias));

static inline __attribute__((always_inline)) void NAME(run)(
    const test_t *test, int32_t n, const CELL *slots, UCELL *leaf, const int count) {
    enum { SPAN = VECTOR_BYTES / sizeof(CELL), MANY = LANES / SPAN };
    NAME(vector) stand[TILE / SPAN];
    const NAME(vector) zero = {0};
    for (int b = 0; b < MANY * count; b++) stand[b] = zero;
    for (int32_t i = 0; i < n; i++) {
        const CELL *x = slots + (int64_t)test[i].slot * TILE;
        const NAME(vector) rank = zero + (CELL)(test[i].rank - BIAS), first = zero + (CELL)test[i].first;
        const NAME(vector) jump = zero + (CELL)(test[i].first ^ test[i].split);
        for (int b = 0; b < MANY * count; b++) {
            const NAME(vector) v = *(const NAME(vector) *)(x + b * SPAN);
            stand[b] ^= (NAME(vector))(v > rank) & (NAME(vector))(stand[b] == first) & jump;
        }
    }
    for (int b = 0; b < MANY * count; b++) *(NAME(vector) *)(leaf + b * SPAN) = stand[b];
}
#endif

/* Leaf numbers, from the left, of `blocks` x BLOCK rows in a tested tree. */
static void NAME(test_tree)(const test_t *test, int32_t n, const CELL *slots, int blocks, int32_t *leaf) {
    UCELL stand[TILE];
    if (blocks * BLOCK == TILE) NAME(run)(test, n, slots, stand, TILE / LANES);
    else
        for (int b = 0; b < blocks; b++) NAME(run)(test, n, slots + b * BLOCK, stand + b * BLOCK, BLOCK / LANES);
    for (int r = 0; r < blocks * BLOCK; r++) leaf[r] = stand[r];
}

/* An oblique test: 1 where the sum exceeds the limit. */
static void NAME(fill_oblique)(const forest_t *f, int64_t k, const int32_t *score, int blocks, CELL *to) {
    int32_t sum[TILE];
    oblique_sums(f, k, score, blocks * BLOCK, sum);
    for (int r = 0; r < blocks * BLOCK; r++) to[r] = (CELL)((sum[r] > f->limit[k]) - BIAS);
}

#undef CELL
#undef UCELL
#undef BIAS
#undef LANES
#undef NAME
#undef SET1
#undef MASK
#undef GREATER
#undef EQUAL
#undef MOVE
