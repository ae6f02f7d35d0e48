// Matrix products whose rows may start anywhere, in tiles that fill the registers.

#pragma once

#include "numbers.h"

// c[row][column] = Σ over segments and steps of a[row, segment, step] · b[segment, step][column]; strides in words.
struct Product {
    int segments, steps, columns;
    long a_segment, a_step, b_segment;
    bool add = false;  // to what c holds
};

#ifdef __AVX512F__
constexpr int ROWS = 8;
#else
constexpr int ROWS = 6;
#endif
constexpr int VECTORS = 2;  // ROWS × VECTORS sums fill the registers

template <class P, int M, int N>
inline void tile(const Product& p, const Word* a, const long* a_rows, const Word* b, float* c, const long* c_rows) {
    Vector sums[M][N] = {};
    for (int segment = 0; segment < p.segments; ++segment) {
        const Word *x = a + segment * p.a_segment, *y = b + segment * p.b_segment;
        for (int step = 0; step < p.steps; ++step, x += p.a_step, y += p.columns)
            for (int i = 0; i < M; ++i)
                for (int j = 0; j < N; ++j) P::multiply_add(sums[i][j], x[a_rows[i]], ((const Words*)y)[j]);
    }
    for (int i = 0; i < M; ++i)
        for (int j = 0; j < N; ++j) {
            Vector& target = ((Vector*)(c + c_rows[i]))[j];
            target = p.add ? target + sums[i][j] : sums[i][j];
        }
}

// All of a product. a_rows, c_rows: where each row starts, in words of a and floats of c. Rows are shared out evenly: a
// tile of few would leave the units idle.
template <class P, int M = ROWS>
void multiply(const Product& p, int rows, const Word* a, const long* a_rows, const Word* b, float* c,
              const long* c_rows) {
    for (int tiles = (rows + ROWS - 1) / ROWS; tiles > 0 && (rows + tiles - 1) / tiles == M; --tiles) {
        int column = 0;
        for (; column + VECTORS * LANES <= p.columns; column += VECTORS * LANES)
            tile<P, M, VECTORS>(p, a, a_rows, b + column, c + column, c_rows);
        for (; column < p.columns; column += LANES) tile<P, M, 1>(p, a, a_rows, b + column, c + column, c_rows);
        rows -= M, a_rows += M, c_rows += M;
    }
    if constexpr (M > 1)
        if (rows) multiply<P, M - 1>(p, rows, a, a_rows, b, c, c_rows);
}
