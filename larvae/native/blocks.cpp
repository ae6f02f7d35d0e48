// Convolutions of stride 2 and the instance norms after them, an image or a few at a time, so that they stay in the
// cache: what `larvae.native.operators` calls.

#include <cstring>
#include <thread>
#include <vector>

#include "convolution.h"
#include "norms.h"
#include "patches.h"
#include "winograd.h"

namespace {

// Calls work(thread, first, last) for shares of the images, one thread each.
template <class Work>
void share(int images, int threads, Work work) {
    std::vector<std::thread> others;
    for (int t = 1; t < threads; ++t)
        others.emplace_back(work, t, (long)images * t / threads, (long)images * (t + 1) / threads);
    work(0, 0L, (long)images / threads);
    for (auto& thread : others) thread.join();
}

// A convolution or transposed convolution of a batch, with the norm after it if it has one: pointers to all of it.
template <class P>
struct Block {
    using Element = typename P::Element;
    Shape shape;
    int images, threads;
    bool relu;                // of the input, first
    const Element* input;     // small images where transposed, else big ones
    Element* standardised;    // the norm's result; null without a norm
    float* scale;             // (images, channels), its 1 / √(variance + ε)
    bool transposed;

    int input_values() const { return transposed ? shape.small_values() : shape.big_values(); }
    int output_values() const { return transposed ? shape.big_values() : shape.small_values(); }
    int output_pixels() const { return transposed ? shape.big_pixels() : shape.small_pixels(); }
    int output_channels() const { return transposed ? shape.big_channels : shape.small_channels; }

    void forward(const Word* weights) const {
        if constexpr (P::PER_WORD == 1)
            if (Winograd::suits(shape)) return forward_by<Winograd>(weights);
        forward_by<Convolution<P>>(weights);
    }

    // weights: for the input's gradient; that is null where nobody wants it. weight_gradient: as of `gather`.
    void backward(const Element* gradient, const Word* weights, Element* input_gradient, float* weight_gradient) const {
        if constexpr (P::PER_WORD == 1)
            if (Winograd::suits(shape))
                return backward_by<Winograd>(gradient, weights, input_gradient, weight_gradient);
        backward_by<Convolution<P>>(gradient, weights, input_gradient, weight_gradient);
    }

  private:
    template <class Sums>
    void forward_by(const Word* weights) const {
        share(images, threads, [&](int, long first, long last) {
            const MatrixUnit unit;
            Sums sums(shape, weights, !transposed);
            for (long i = first; i < last; i += sums.together) {
                const int count = std::min<long>(sums.together, last - i);
                sums.forward(count, input + i * input_values(), relu);
                for (int j = 0; j < count; ++j) normed(i + j, sums.sums.data() + j * output_values());
            }
        });
    }

    template <class Sums>
    void backward_by(const Element* gradient, const Word* weights, Element* input_gradient,
                     float* weight_gradient) const {
        std::vector<Buffer<float>> totals(threads, Buffer<float>(Sums::total_values(shape)));
        share(images, threads, [&](int thread, long first, long last) {
            const MatrixUnit unit;
            Sums sums(shape, input_gradient ? weights : nullptr, transposed);
            Buffer<Element> before_norms(standardised ? sums.together * output_values() : 0);
            float* total = totals[thread].data();
            for (long i = first; i < last; i += sums.together) {
                const int count = std::min<long>(sums.together, last - i);
                const Element *in = input + i * input_values(), *out = gradient + i * output_values();
                if (standardised) {
                    for (int j = 0; j < count; ++j) before_norm(i + j, gradient, &before_norms[j * output_values()]);
                    out = before_norms.data();
                }
                sums.backward(count, transposed ? out : in, transposed ? in : out, relu, total, input_gradient);
                if (input_gradient)
                    store_gradient<P>(sums.sums.data(), in, count * input_values(), relu,
                                      input_gradient + i * input_values());
            }
            sums.finish(total);
        });
        for (int thread = 1; thread < threads; ++thread)
            for (std::size_t i = 0; i < totals[0].size(); ++i) totals[0][i] += totals[thread][i];
        Sums::weights_of(shape, totals[0].data(), weight_gradient);
    }

    // The norm of image i's sums.
    void normed(long i, const float* sums) const {
        Element* result = standardised + i * output_values();
        float* scales = scale + i * output_channels();
        if (output_channels() == 32)
            standardise<P, 32>(sums, output_pixels(), result, scales);
        else
            standardise<P, 64>(sums, output_pixels(), result, scales);
    }

    // The gradient of image i's sums, from that of its norm.
    void before_norm(long i, const Element* gradients, Element* to) const {
        const Element *gradient = gradients + i * output_values(), *result = standardised + i * output_values();
        const float* scales = scale + i * output_channels();
        if (output_channels() == 32)
            standardise_backward<P, 32>(gradient, result, scales, output_pixels(), to);
        else
            standardise_backward<P, 64>(gradient, result, scales, output_pixels(), to);
    }
};

}  // namespace

#define DEFINE(NAME, P)                                                                                                \
    extern "C" void normed_##NAME(Shape shape, int images, int threads, bool relu, bool transposed,                  \
                                   const P::Element* input, P::Element* standardised, float* scale,                   \
                                   const Word* weights) {                                                             \
        Block<P>{shape, images, threads, relu, input, standardised, scale, transposed}.forward(weights);              \
    }                                                                                                                  \
    extern "C" void gradients_##NAME(Shape shape, int images, int threads, bool relu, bool transposed,                 \
                                    const P::Element* input, P::Element* standardised, float* scale,                  \
                                    const Word* weights, const P::Element* gradient, P::Element* input_gradient,      \
                                    float* weight_gradient) {                                                         \
        Block<P>{shape, images, threads, relu, input, standardised, scale, transposed}.backward(                      \
            gradient, weights, input_gradient, weight_gradient);                                                      \
    }                                                                                                                  \
    extern "C" void laid_patches_##NAME(Shape shape, int images, int threads, bool relu, const P::Element* input,      \
                                       const Word* weights, float* output) {                                          \
        share(images, threads, [&](int, long first, long last) {                                                       \
            lay_patches<P>(shape, last - first, relu, input + first * shape.small_values(), weights,                   \
                           output + first * shape.big_values());                                                      \
        });                                                                                                            \
    }

DEFINE(float32, Float32)
DEFINE(bfloat16, BFloat16)

// Whether products of bfloat16 run in the matrix unit: the processor has one, and the system lets this process use it.
extern "C" bool can_use_matrix_unit() { return has_matrix_unit(); }
