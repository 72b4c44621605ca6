/* Forests with linear nodes or affine leaves, included by runtime_kernel.c. Every tree is walked row by row: a real sum costs as much as
 * many comparisons, so that only the nodes of the path are worth computing. Sums go in the order of the terms and are never fused. */

static inline double linear_total(const forest_t *f, int64_t k, const double *row) {
    int32_t t = f->term_offset[k];
    double total = f->linear_weight[t] * row[f->term_feature[t]];
    for (t++; t < f->term_offset[k + 1]; t++) total += f->linear_weight[t] * row[f->term_feature[t]];
    return total;
}

/* The number of the leaf that the laid out row reaches from a root. */
static inline int32_t walk_weighted(const forest_t *f, const work_t *w, int64_t at) {
    for (;;) {
        const step_t *step = f->step + at;
        const int64_t k = -1 - (int64_t)step->slot;
        int right;
        if (step->slot >= 0) right = !(w->row[step->slot] <= step->threshold);
        else if (f->linear[k]) right = !(linear_total(f, k, w->row) <= step->threshold);
        else right = oblique_right(f, k, w, 0);
        if (step->child + right == at) return (int32_t)step->threshold;
        at = step->child + right;
    }
}

static inline void add_affine(const forest_t *f, int32_t leaf, const double *row, double *out) {
    for (int64_t c = 0; c < f->n_outputs; c++) {
        const double *slope = f->slope + (leaf * f->n_outputs + c) * f->n_used;
        double total = f->value[leaf * f->n_outputs + c];
        for (int64_t u = 0; u < f->n_used; u++)
            if (slope[u] != 0.0) total += slope[u] * row[u];
        out[c] += total;
    }
}

/* hardgrad_run for such forests; `affine` tells whether leaves have slopes. */
static int run_weighted(const forest_t *f, const double *X, int64_t n, double *out, int32_t *nodes, int affine) {
    work_t w = {.width = 2 * f->n_used + 1, .stride = 1};
    const int scored = f->n_oblique > f->n_linear;
    w.row = malloc(w.width * sizeof(double));
    w.score = malloc((f->n_used + 1) * sizeof(int32_t));
    const int failed = !w.row || !w.score;
    for (int64_t r = 0; r < n && !failed; r++) {
        double *o = out ? out + r * f->n_outputs : NULL;
        lay_out(f, X + r * f->n_features, w.row);
        for (int64_t u = 0; scored && u < f->n_used; u++) w.score[u] = score_of(f, u, w.row[u]);
        if (o) start(f, 1, o);
        for (int64_t e = 0; e < f->n_trees; e++) {
            const int32_t leaf = walk_weighted(f, &w, f->root[e]);
            if (!o) nodes[r * f->n_trees + e] = f->node[leaf];
            else if (affine) add_affine(f, leaf, w.row, o);
            else add_leaves(f, &leaf, 1, o);
        }
        if (o) finish(f, 1, o);
    }
    free(w.row);
    free(w.score);
    return failed;
}

int hardgrad_run_linear(const forest_t *f, const double *X, int64_t n, double *out, int32_t *nodes) {
    return run_weighted(f, X, n, out, nodes, 0);
}

int hardgrad_run_affine(const forest_t *f, const double *X, int64_t n, double *out, int32_t *nodes) {
    return run_weighted(f, X, n, out, nodes, 1);
}
