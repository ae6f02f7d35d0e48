// Convolutions of stride 2 and the instance norms after them, an image at a time, so that an image stays in the cache:
// what `larvae.native.operators` calls.

#include <cstring>
#include <thread>
#include <vector>

#include "convolution.h"
#include "norms.h"
#include "patches.h"

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
        share(images, threads, [&](int, long first, long last) {
            const MatrixUnit unit;
            Convolution<P> convolution(shape);
            for (long i = first; i < last; ++i) {
                const Element* image = input + i * input_values();
                if (transposed) {
                    convolution.set_small(image, relu);
                    convolution.scatter(weights);
                } else {
                    convolution.set_big(image, relu);
                    convolution.gather(weights);
                }
                Element* result = standardised + i * output_values();
                float* scales = scale + i * output_channels();
                if (output_channels() == 32)
                    standardise<P, 32>(convolution.sums.data(), output_pixels(), result, scales);
                else
                    standardise<P, 64>(convolution.sums.data(), output_pixels(), result, scales);
            }
        });
    }

    // weights: for the input's gradient; that is null where nobody wants it. weight_gradient: as of `correlate`.
    void backward(const Element* gradient, const Word* weights, Element* input_gradient, float* weight_gradient) const {
        std::vector<Buffer<float>> totals(threads, Buffer<float>(shape.weights()));
        share(images, threads, [&](int thread, long first, long last) {
            const MatrixUnit unit;
            Convolution<P> convolution(shape);
            Buffer<Element> output_gradient(output_values()), activated(input_values());
            for (long i = first; i < last; ++i) {
                const Element *image = input + i * input_values(), *g = gradient + i * output_values();
                if (standardised) {
                    const Element* result = standardised + i * output_values();
                    const float* scales = scale + i * output_channels();
                    if (output_channels() == 32)
                        standardise_backward<P, 32>(g, result, scales, output_pixels(), output_gradient.data());
                    else
                        standardise_backward<P, 64>(g, result, scales, output_pixels(), output_gradient.data());
                    g = output_gradient.data();
                }
                if (transposed) {
                    copy<P>(image, input_values(), relu, activated.data());
                    convolution.set_big(g, false);
                    convolution.correlate(activated.data(), totals[thread].data());
                    if (input_gradient) convolution.gather(weights);
                } else {
                    convolution.set_big(image, relu);
                    convolution.correlate(g, totals[thread].data());
                    if (input_gradient) {
                        convolution.set_small(g, false);
                        convolution.scatter(weights);
                    }
                }
                if (input_gradient)
                    store_gradient<P>(convolution.sums.data(), image, input_values(), relu,
                                      input_gradient + i * input_values());
            }
            convolution.finish(totals[thread].data());
        });
        for (int k = 0; k < shape.patch(); ++k)
            for (int channel = 0; channel < shape.small_channels; ++channel) {
                const int at = Convolution<P>::weight_at(shape, k, channel);
                float& gradient = weight_gradient[k * shape.small_channels + channel] = 0;
                for (const auto& total : totals) gradient += total[at];
            }
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
