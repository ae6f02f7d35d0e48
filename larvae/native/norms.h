// Each channel of an image standardised over its pixels, and the gradient of that.

#pragma once

#include <cmath>

#include "numbers.h"

constexpr float EPSILON = 1e-5f;  // as larvae.networks.EPSILON

// Pixels (count, CHANNELS) less their mean, times scale = 1 / √(variance + ε).
template <class P, int CHANNELS>
void standardise(const float* pixels, int count, typename P::Element* result, float* scale) {
    constexpr int N = CHANNELS / LANES;
    Vector mean[N] = {}, squares[N] = {}, scales[N];
#pragma GCC unroll 4
    for (int i = 0; i < count; ++i)
        for (int v = 0; v < N; ++v) mean[v] += load<Vector>(pixels + i * CHANNELS + v * LANES);
    for (Vector& m : mean) m /= (float)count;
    for (int i = 0; i < count; ++i)
        for (int v = 0; v < N; ++v) {
            const Vector centred = load<Vector>(pixels + i * CHANNELS + v * LANES) - mean[v];
            squares[v] += centred * centred;
        }
    for (int v = 0; v < N; ++v)
        for (int lane = 0; lane < LANES; ++lane) {
            scales[v][lane] = 1 / std::sqrt(squares[v][lane] / count + EPSILON);
            scale[v * LANES + lane] = scales[v][lane];
        }
    for (int i = 0; i < count; ++i)
        for (int v = 0; v < N; ++v) {
            const int at = i * CHANNELS + v * LANES;
            store(result + at, P::narrow((load<Vector>(pixels + at) - mean[v]) * scales[v]));
        }
}

// The gradient of what `standardise` was given, from that of its result.
template <class P, int CHANNELS>
void standardise_backward(const typename P::Element* gradient, const typename P::Element* standardised,
                          const float* scale, int count, typename P::Element* result) {
    using Elements = typename P::Elements;
    constexpr int N = CHANNELS / LANES;
    Vector mean[N] = {}, slope[N] = {};
    for (int i = 0; i < count; ++i)
        for (int v = 0; v < N; ++v) {
            const int at = i * CHANNELS + v * LANES;
            const Vector g = P::widen(load<Elements>(gradient + at));
            mean[v] += g;
            slope[v] += g * P::widen(load<Elements>(standardised + at));
        }
    for (int v = 0; v < N; ++v) mean[v] /= (float)count, slope[v] /= (float)count;
    for (int i = 0; i < count; ++i)
        for (int v = 0; v < N; ++v) {
            const int at = i * CHANNELS + v * LANES;
            const Vector g = P::widen(load<Elements>(gradient + at)) - mean[v];
            const Vector x = P::widen(load<Elements>(standardised + at));
            store(result + at, P::narrow(load<Vector>(scale + v * LANES) * (g - x * slope[v])));
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
