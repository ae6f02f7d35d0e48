// Pairs of bfloat16 as words: what the two of a word are summed over lies side by side.

#pragma once

#include <algorithm>

#include "buffer.h"
#include "numbers.h"

constexpr int SQUARE = 16;

// to[i] = (low[i], high[i])
template <int COUNT>
inline void interleave(const uint16_t* low, const uint16_t* high, Word* to) {
    for (int i = 0; i < COUNT; ++i) to[i] = (Word)low[i] | (Word)high[i] << 16;
}

// rows[i][j] and rows[j][i] change places.
inline void transpose(Word (&rows)[SQUARE][SQUARE]) {
#ifdef __AVX512F__
    __m512i r[SQUARE];
    for (int i = 0; i < SQUARE; ++i) r[i] = _mm512_loadu_si512(rows[i]);
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#pragma GCC unroll 4
    for (int d = SQUARE / 2; d > 0; d /= 2) {  // blocks of d × d, off the diagonal, change places
        const __m512i step = _mm512_set1_epi32(d), second = _mm512_set1_epi32(SQUARE);
        const __mmask16 high = _mm512_test_epi32_mask(lanes, step);
        const __m512i top = _mm512_mask_add_epi32(lanes, high, _mm512_sub_epi32(lanes, step), second);
        const __m512i bottom = _mm512_mask_add_epi32(_mm512_add_epi32(lanes, step), high, lanes, second);
#pragma GCC unroll 16
        for (int i = 0; i < SQUARE; ++i)
            if (!(i & d)) {
                const __m512i upper = r[i], lower = r[i + d];
                r[i] = _mm512_permutex2var_epi32(upper, top, lower);
                r[i + d] = _mm512_permutex2var_epi32(upper, bottom, lower);
            }
    }
    for (int i = 0; i < SQUARE; ++i) _mm512_storeu_si512(rows[i], r[i]);
#else
    for (int i = 0; i < SQUARE; ++i)
        for (int j = 0; j < i; ++j) std::swap(rows[i][j], rows[j][i]);
#endif
}

// The transpose of the first `there` rows of a square; its own rows lie a stride apart.
template <class T>
inline void store_transposed(Word (&square)[SQUARE][SQUARE], int there, T* to, long stride) {
    transpose(square);
    for (int i = 0; i < SQUARE; ++i, to += stride)
        if (there == SQUARE)
            std::memcpy(to, square[i], sizeof square[i]);
        else
            std::memcpy(to, square[i], there * sizeof(Word));
}

// Pixels (count, channels) as rows of channels, each with its pixels in pairs. Even count; channels: 16 times a number.
inline void rows_of_pairs(const uint16_t* pixels, int count, int channels, Word* rows, long row) {
    for (int pair = 0; 2 * pair < count; pair += SQUARE)
        for (int channel = 0; channel < channels; channel += SQUARE) {
            const int there = std::min(SQUARE, count / 2 - pair);
            alignas(LINE) Word square[SQUARE][SQUARE] = {};
            for (int i = 0; i < there; ++i) {
                const uint16_t* low = pixels + 2L * (pair + i) * channels + channel;
                interleave<SQUARE>(low, low + channels, square[i]);
            }
            store_transposed(square, there, rows + channel * row + pair, row);
        }
}
