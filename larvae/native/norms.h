// Each channel of an image standardised over its pixels, and the gradient of that.

#pragma once

#include <cmath>

#include "numbers.h"

constexpr float EPSILON = 1e-5f;  // as larvae.networks.EPSILON

// A pixel's N vectors of channels, or sums of them.
template <int N>
struct Pixel {
    Vector of[N] = {};
};

// The sum of term(pixel) over pixels first to last. By halves: rounding errors grow as the logarithm of their number.
template <int N, class Term>
Pixel<N> sum(int first, int last, const Term& term) {
    constexpr int PIXELS = 16;  // summed one after another: fewer are not worth a call
    Pixel<N> total;
    if (last - first <= PIXELS) {
        for (int i = first; i < last; ++i) term(i, total);
        return total;
    }
    const int middle = first + (last - first) / 2;
    total = sum<N>(first, middle, term);
    const Pixel<N> rest = sum<N>(middle, last, term);
    for (int v = 0; v < N; ++v) total.of[v] += rest.of[v];
    return total;
}

// Pixels (count, CHANNELS) less their mean, times scale = 1 / √(variance + ε).
template <class P, int CHANNELS>
void standardise(const float* pixels, int count, typename P::Element* result, float* scale) {
    constexpr int N = CHANNELS / LANES;
    Vector scales[N];
    Pixel<N> mean = sum<N>(0, count, [&](int i, Pixel<N>& total) {
        for (int v = 0; v < N; ++v) total.of[v] += load<Vector>(pixels + i * CHANNELS + v * LANES);
    });
    for (Vector& m : mean.of) m /= (float)count;
    const Pixel<N> squares = sum<N>(0, count, [&](int i, Pixel<N>& total) {
        for (int v = 0; v < N; ++v) {
            const Vector centred = load<Vector>(pixels + i * CHANNELS + v * LANES) - mean.of[v];
            total.of[v] += centred * centred;
        }
    });
    for (int v = 0; v < N; ++v)
        for (int lane = 0; lane < LANES; ++lane) {
            scales[v][lane] = 1 / std::sqrt(squares.of[v][lane] / count + EPSILON);
            scale[v * LANES + lane] = scales[v][lane];
        }
    for (int i = 0; i < count; ++i)
        for (int v = 0; v < N; ++v) {
            const int at = i * CHANNELS + v * LANES;
            store(result + at, P::narrow((load<Vector>(pixels + at) - mean.of[v]) * scales[v]));
        }
}

// The gradient of what `standardise` was given, from that of its result.
template <class P, int CHANNELS>
void standardise_backward(const typename P::Element* gradient, const typename P::Element* standardised,
                          const float* scale, int count, typename P::Element* result) {
    using Elements = typename P::Elements;
    constexpr int N = CHANNELS / LANES;
    Pixel<2 * N> means = sum<2 * N>(0, count, [&](int i, Pixel<2 * N>& total) {
        for (int v = 0; v < N; ++v) {
            const int at = i * CHANNELS + v * LANES;
            const Vector g = P::widen(load<Elements>(gradient + at));
            total.of[v] += g;
            total.of[N + v] += g * P::widen(load<Elements>(standardised + at));
        }
    });
    for (Vector& mean : means.of) mean /= (float)count;
    for (int i = 0; i < count; ++i)
        for (int v = 0; v < N; ++v) {
            const int at = i * CHANNELS + v * LANES;
            const Vector g = P::widen(load<Elements>(gradient + at)) - means.of[v];
            const Vector x = P::widen(load<Elements>(standardised + at));
            store(result + at, P::narrow(load<Vector>(scale + v * LANES) * (g - x * means.of[N + v])));
        }
}

// An input's gradient: sums, where the ReLU before the input let it through. count: LANES times a number.
template <class P>
void store_gradient(const float* sums, const typename P::Element* input, int count, bool relu,
                    typename P::Element* result) {
    for (int i = 0; i < count; i += LANES) {
        Vector sum = load<Vector>(sums + i);
        if (relu) sum = P::widen(load<typename P::Elements>(input + i)) > 0 ? sum : Vector{};
        store(result + i, P::narrow(sum));
    }
}
