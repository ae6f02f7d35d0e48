// The same products of bfloat16 in the matrix unit of Intel's CPUs (AMX), whose registers are tiles of 16 × 16 words.

#pragma once

#include <algorithm>

#include "buffer.h"
#include "product.h"
#ifdef __AMX_BF16__
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

constexpr int SIDE = 16;

// Whether the system lets this process use the unit; asks for it.
inline bool has_matrix_unit() {
    constexpr int REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
    static const bool granted = syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
    return granted;
}

// The unit's registers are a thread's while one of these lives.
class MatrixUnit {
  public:
    MatrixUnit() {
        if (!has_matrix_unit()) return;
        struct {
            uint8_t palette = 1, start_row = 0, reserved[14] = {};
            uint16_t row_bytes[16] = {};
            uint8_t rows[16] = {};
        } layout;
        std::fill_n(layout.row_bytes, 8, 4 * SIDE);
        std::fill_n(layout.rows, 8, SIDE);
        _tile_loadconfig(&layout);
    }
    ~MatrixUnit() {
        if (has_matrix_unit()) _tile_release();
    }
};

// Rows of a matrix in memory, evenly spaced; stride in words.
struct EvenRows {
    const Word* first;
    long stride;
};

// Whether a tile can be read or written as it lies, with SIDE rows at one distance.
inline bool are_even(const long* rows) {
    for (int i = 2; i < SIDE; ++i)
        if (rows[i] - rows[i - 1] != rows[1] - rows[0]) return false;
    return true;
}

// M × N tiles of c; a has M times SIDE rows. The intrinsics take registers by literal numbers: 0 to 3 hold sums, 4 and 5
// parts of a, 6 and 7 of b.
template <int M, int N>
void block_of_tiles(const Product& p, const EvenRows* a, const Word* b, float* c, const long* c_rows) {
    const bool even = are_even(c_rows) && (M == 1 || are_even(c_rows + SIDE)) &&
                      c_rows[M * SIDE - 1] - c_rows[M * SIDE - 2] == c_rows[1] - c_rows[0];
    alignas(LINE) float scattered[M * N][SIDE * SIDE];
    const long stride = even ? 4 * (c_rows[1] - c_rows[0]) : 4 * SIDE;
    const auto target = [&](int i, int j) { return even ? c + c_rows[i * SIDE] + j * SIDE : scattered[i * N + j]; };
    if (p.add) {
        _tile_loadd(0, target(0, 0), stride);
        if (N > 1) _tile_loadd(1, target(0, 1), stride);
        if (M > 1) _tile_loadd(2, target(1, 0), stride);
        if (M > 1 && N > 1) _tile_loadd(3, target(1, 1), stride);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int segment = 0; segment < p.segments; ++segment)
        for (int step = 0; step < p.steps; step += SIDE) {
            const long x = segment * p.a_segment + step;
            const Word* y = b + segment * p.b_segment + (long)step * p.columns;
            _tile_loadd(6, y, 4 * p.columns);
            if (N > 1) _tile_loadd(7, y + SIDE, 4 * p.columns);
            _tile_loadd(4, a[0].first + x, 4 * a[0].stride);
            _tile_dpbf16ps(0, 4, 6);
            if (N > 1) _tile_dpbf16ps(1, 4, 7);
            if (M > 1) {
                _tile_loadd(5, a[M - 1].first + x, 4 * a[M - 1].stride);
                _tile_dpbf16ps(2, 5, 6);
                if (N > 1) _tile_dpbf16ps(3, 5, 7);
            }
        }
    _tile_stored(0, target(0, 0), stride);
    if (N > 1) _tile_stored(1, target(0, 1), stride);
    if (M > 1) _tile_stored(2, target(1, 0), stride);
    if (M > 1 && N > 1) _tile_stored(3, target(1, 1), stride);
    if (even) return;
    for (int i = 0; i < M * SIDE; ++i)
        for (int j = 0; j < N; ++j)
            std::memcpy(c + c_rows[i] + j * SIDE, scattered[i / SIDE * N + j] + i % SIDE * SIDE, 4 * SIDE);
}

template <int M>
void rows_of_tiles(const Product& p, const EvenRows* a, const Word* b, float* c, const long* c_rows) {
    int column = 0;
    for (; column + 2 * SIDE <= p.columns; column += 2 * SIDE)
        block_of_tiles<M, 2>(p, a, b + column, c + column, c_rows);
    if (column < p.columns) block_of_tiles<M, 1>(p, a, b + column, c + column, c_rows);
}

// Rows of a, all segments of each side by side; what lies between them and length stays as it is.
template <int STEPS = 0>
EvenRows packed(const Product& p, const Word* a, const long* a_rows, int length, Word* to) {
    const int steps = STEPS ? STEPS : p.steps;
    for (int i = 0; i < SIDE; ++i)
        for (int segment = 0; segment < p.segments; ++segment)
            std::memcpy(to + i * length + segment * steps, a + a_rows[i] + segment * p.a_segment, 4 * steps);
    return {to, length};
}

// As `multiply`, where a's steps lie side by side and columns and, to add to c, its rows fill whole tiles.
inline void multiply_in_matrix_unit(Product p, int rows, const Word* a, const long* a_rows, const Word* b, float* c,
                                    const long* c_rows) {
    const int length = p.segments * p.steps, whole = (length + SIDE - 1) / SIDE * SIDE;
    static thread_local Buffer<Word> filled, buffer;
    const bool ragged = p.steps % SIDE;
    const auto pack = p.steps == 2 ? packed<2> : packed<>;  // images of one channel
    if (ragged && whole > length) {  // b's segments lie one after another
        filled.assign(b, b + (long)length * p.columns);
        filled.resize((long)whole * p.columns);
        b = filled.data();
    }
    if (ragged) buffer.assign(2L * SIDE * whole, 0);
    buffer.resize(2L * SIDE * whole);
    for (int done = 0; done + SIDE <= rows;) {
        const int tiles = rows - done >= 2 * SIDE ? 2 : 1;
        bool even = !ragged;
        for (int i = 0; i < tiles; ++i) even = even && are_even(a_rows + i * SIDE);
        Product q = p;
        EvenRows from[2];
        for (int i = 0; i < tiles; ++i)
            from[i] = even ? EvenRows{a + a_rows[i * SIDE], a_rows[i * SIDE + 1] - a_rows[i * SIDE]}
                           : pack(p, a, a_rows + i * SIDE, whole, buffer.data() + i * SIDE * whole);
        if (!even) q = {1, whole, p.columns, 0, 1, 0, p.add};
        if (tiles == 2)
            rows_of_tiles<2>(q, from, b, c, c_rows);
        else
            rows_of_tiles<1>(q, from, b, c, c_rows);
        done += tiles * SIDE, a_rows += tiles * SIDE, c_rows += tiles * SIDE;
    }
    if (rows % SIDE) multiply<BFloat16>(p, rows % SIDE, a, a_rows, b, c, c_rows);
}

#else

inline bool has_matrix_unit() { return false; }

struct MatrixUnit {
    MatrixUnit() {}
};

#endif

template <class P>
void multiply_fast(const Product& p, int rows, const Word* a, const long* a_rows, const Word* b, float* c,
                   const long* c_rows) {
#ifdef __AMX_BF16__
    if (P::PER_WORD == 2 && has_matrix_unit() && p.columns % SIDE == 0)
        return multiply_in_matrix_unit(p, rows, a, a_rows, b, c, c_rows);
#endif
    multiply<P>(p, rows, a, a_rows, b, c, c_rows);
}
