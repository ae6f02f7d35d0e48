// The two precisions. Memory is read in words of 32 bits: a float32, or two bfloat16 whose products both go to one
// float32 sum.

#pragma once

#include <cstdint>
#include <cstring>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

using Word = uint32_t;
#ifdef __AVX512F__
constexpr int LANES = 16;
#else
constexpr int LANES = 8;
#endif
typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4)));
typedef Word Words __attribute__((vector_size(4 * LANES), aligned(4)));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES), aligned(2)));

template <class V, class T>
inline V load(const T* from) {
    V value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

template <class V, class T>
inline void store(T* to, V value) {
    std::memcpy(to, &value, sizeof value);
}

struct Float32 {
    using Element = float;
    using Elements = Vector;
    static constexpr int PER_WORD = 1;
    static Vector widen(Vector x) { return x; }
    static Vector narrow(Vector x) { return x; }
    template <class T>
    static T relu(T x) {  // a NaN stays
        return x < 0 ? T{} : x;
    }
    static void multiply_add(Vector& sum, Word a, Words b) {
        float factor;
        std::memcpy(&factor, &a, sizeof factor);
        sum += factor * (Vector)b;
    }
};

struct BFloat16 {
    using Element = uint16_t;
    using Elements = Halves;
    static constexpr int PER_WORD = 2;
    static Vector widen(Halves x) {
#ifdef __AVX512F__  // one instruction, of which GCC makes four
        const Words low = (Words)_mm512_cvtepu16_epi32((__m256i)x);
#else
        const Words low = __builtin_convertvector(x, Words);
#endif
        return (Vector)(low << 16);
    }
    static Halves narrow(Vector x) {  // to the nearest, ties to even; a NaN to one
#ifdef __AVX512BF16__
        return (Halves)_mm512_cvtneps_pbh((__m512)x);
#else
        const Words bits = (Words)x, odd = bits >> 16 & 1;
        const Words rounded = x != x ? bits | 0x400000 : bits + 0x7fff + odd;
        return __builtin_convertvector(rounded >> 16, Halves);
#endif
    }
    template <class T>
    static T relu(T x) {  // a NaN stays
        return (x >= 0x8000) & (x <= 0xff80) ? T{} : x;
    }
    static void multiply_add(Vector& sum, Word a, Words b) {
#ifdef __AVX512BF16__
        sum = (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(a), (__m512bh)b);
#else
        const Word high = a & 0xffff0000, low = a << 16;
        Float32::multiply_add(sum, low, b << 16);
        Float32::multiply_add(sum, high, b & 0xffff0000);
#endif
    }
};

// A copy, cut by the ReLU if asked for.
template <class P>
inline void copy(const typename P::Element* from, int count, bool relu, typename P::Element* to) {
    int i = 0;
    for (; i + LANES <= count; i += LANES) {
        const auto values = load<typename P::Elements>(from + i);
        store(to + i, relu ? P::relu(values) : values);
    }
    for (; i < count; ++i) to[i] = relu ? P::relu(from[i]) : from[i];
}
