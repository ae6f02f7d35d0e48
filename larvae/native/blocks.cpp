// Convolutions of stride 2 and the instance norms after them, an image at a time, so that an image stays in the cache.
//
// Such a convolution relates a big image (2H, 2W, C) to a small one (H, W, O), both channels last; kernels are 4×4 with
// a padding of 1, or 2×2 without. Three sums are all that training needs, of a convolution as of a transposed one:
//
//   gather      a small pixel from its patch of the big image     convolution; gradient of a transposed one's input
//   scatter     a big pixel from the small pixels that reach it   transposed convolution; gradient of one's input
//   correlate   a weight from all pixels                          gradient of either one's weights
//
// In memory, a row of a patch is contiguous. So each sum is a matrix product whose rows may start anywhere, and `tile`
// is the only loop that multiplies. It works on words of 32 bits: a float32, or two bfloat16 whose products both go to
// one float32 sum.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

namespace {

using Word = uint32_t;
#ifdef __AVX512F__
constexpr int LANES = 16, ROWS = 8;
#else
constexpr int LANES = 8, ROWS = 6;
#endif
constexpr int VECTORS = 2;  // ROWS × VECTORS sums fill the registers
typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4)));
typedef Word Words __attribute__((vector_size(4 * LANES), aligned(4)));
constexpr float EPSILON = 1e-5f;  // as larvae.networks.EPSILON

struct Float32 {
    using Element = float;
    static constexpr int PER_WORD = 1;
    static float widen(float x) { return x; }
    static float narrow(float x) { return x; }
    static float relu(float x) { return 0 > x ? 0 : x; }  // a NaN stays
    static void multiply_add(Vector& sum, Word a, Words b) {
        float factor;
        std::memcpy(&factor, &a, sizeof factor);
        sum += factor * (Vector)b;
    }
};

struct BFloat16 {
    using Element = uint16_t;
    static constexpr int PER_WORD = 2;
    static float widen(uint16_t x) {
        const Word bits = (Word)x << 16;
        float value;
        std::memcpy(&value, &bits, sizeof value);
        return value;
    }
    static uint16_t narrow(float x) {  // to the nearest, ties to even; every NaN to the one without a sign
        Word bits;
        std::memcpy(&bits, &x, sizeof bits);
        return x != x ? 0x7fc0 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    }
    static uint16_t relu(uint16_t x) { return (int16_t)x < 0 ? 0 : x; }
    static void multiply_add(Vector& sum, Word a, Words b) {
#ifdef __AVX512BF16__
        sum = (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(a), (__m512bh)b);
#else
        sum += widen(a & 0xffff) * (Vector)(b << 16);
        sum += widen(a >> 16) * (Vector)(b & 0xffff0000);
#endif
    }
};

// c[row][column] = Σ over segments and steps of a[row, segment, step] · b[segment, step][column]; strides in words.
struct Product {
    int segments, steps, columns;
    long a_segment, a_step, b_segment;
    bool add = false;  // to what c holds
};

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

// All of a product, in tiles. a_rows, c_rows: where each row starts, in words of a and floats of c.
template <class P, int M = ROWS>
void multiply(const Product& p, int rows, const Word* a, const long* a_rows, const Word* b, float* c,
              const long* c_rows) {
    for (; rows >= M; rows -= M, a_rows += M, c_rows += M) {
        int column = 0;
        for (; column + VECTORS * LANES <= p.columns; column += VECTORS * LANES)
            tile<P, M, VECTORS>(p, a, a_rows, b + column, c + column, c_rows);
        for (; column < p.columns; column += LANES) tile<P, M, 1>(p, a, a_rows, b + column, c + column, c_rows);
    }
    if constexpr (M > 1)
        if (rows) multiply<P, M - 1>(p, rows, a, a_rows, b, c, c_rows);
}

struct Shape {
    int height, width, big_channels, small_channels, padding;  // of the small image; padding 1: 4×4, 0: 2×2

    int kernel() const { return 2 * padding + 2; }
    int small_pixels() const { return height * width; }
    int big_pixels() const { return 4 * height * width; }
    int small_values() const { return small_pixels() * small_channels; }
    int big_values() const { return big_pixels() * big_channels; }
    int weights() const { return kernel() * kernel() * big_channels * small_channels; }
    int big_row() const { return (2 * width + 2 * padding) * big_channels; }  // with its padding
    int small_row() const { return (width + 2 * padding) * small_channels; }
    int padded_big() const { return (2 * height + 2 * padding) * big_row(); }
    int padded_small() const { return (height + 2 * padding) * small_row(); }
};

// The three sums of one shape, and an image's memory for them.
template <class P>
class Convolution {
    using Element = typename P::Element;
    static constexpr int PER_WORD = P::PER_WORD;

  public:
    const Shape s;
    std::vector<Element> big, small;  // padded with zeros
    std::vector<float> sums;          // of whichever image is computed

    explicit Convolution(const Shape& shape)
        : s(shape), big(s.padded_big()), small(s.padded_small()), sums(std::max(s.big_values(), s.small_values())),
          big_pairs(PER_WORD == 2 ? (2 * s.height + 2 * s.padding) * s.width / 2 * s.kernel() * s.big_channels : 0),
          small_pairs(PER_WORD == 2 ? s.small_values() / 2 : 0) {
        for (int y = 0; y < s.height; ++y)
            for (int x = 0; x < s.width; ++x) {
                patch_rows.push_back((2L * y * s.big_row() + 2 * x * s.big_channels) / PER_WORD);
                tap_rows.push_back((long)(y * s.small_row() + x * s.small_channels) / PER_WORD);
                small_rows.push_back((long)(y * s.width + x) * s.small_channels);
                big_rows.push_back((4L * y * s.width + 2 * x) * s.big_channels);
            }
        for (int i = 0; i < s.kernel() * s.big_channels; ++i) {
            weight_words.push_back(i);
            weight_rows.push_back((long)i * s.small_channels);
        }
    }

    void set_big(const Element* image, bool relu) { pad(image, 2 * s.height, 2 * s.width, s.big_channels, relu, big); }
    void set_small(const Element* image, bool relu) { pad(image, s.height, s.width, s.small_channels, relu, small); }

    // weights: [row of the kernel][column of the kernel, big channel][small channel]
    void gather(const Word* weights) {
        const int steps = s.kernel() * s.big_channels / PER_WORD;
        const Product p{s.kernel(), steps, s.small_channels, s.big_row() / PER_WORD, 1, (long)steps * s.small_channels};
        multiply<P>(p, s.small_pixels(), words(big), patch_rows.data(), weights, sums.data(), small_rows.data());
    }

    // weights: [row's parity, column's parity][row of taps][column of taps, small channel][big channel]
    void scatter(const Word* weights) {
        const int taps = s.kernel() / 2, steps = taps * s.small_channels / PER_WORD;
        const Product p{taps, steps, s.big_channels, s.small_row() / PER_WORD, 1, (long)steps * s.big_channels};
        for (int parity = 0; parity < 4; ++parity) {
            const int y = parity / 2, x = parity % 2;
            const Word* first = words(small) + s.padding * (y * s.small_row() + x * s.small_channels) / PER_WORD;
            float* target = sums.data() + (y * 2 * s.width + x) * s.big_channels;
            multiply<P>(p, s.small_pixels(), first, tap_rows.data(), weights + parity * taps * p.b_segment, target,
                        big_rows.data());
        }
    }

    // Adds to weights as gather's, of the padded big image and a small one without padding.
    void correlate(const Element* small_image, float* weights) {
        const int patch = s.kernel() * s.big_channels;
        Product p{s.height, s.width / PER_WORD, s.small_channels, 2L * s.big_row(), 2L * s.big_channels,
                  (long)s.width * s.small_channels / PER_WORD, true};
        const Word *patches = words(big), *pixels = (const Word*)small_image;
        if (PER_WORD == 2) {  // a step is a pair of neighbouring small pixels
            pair(small_image);
            p.a_step = patch;
            p.a_segment = (long)s.width * patch;
            patches = big_pairs.data(), pixels = small_pairs.data();
        }
        for (int row = 0; row < s.kernel(); ++row)
            multiply<P>(p, patch, patches + row * p.a_segment / 2, weight_words.data(), pixels,
                        weights + row * patch * s.small_channels, weight_rows.data());
    }

  private:
    std::vector<long> patch_rows, tap_rows, small_rows, big_rows, weight_words, weight_rows;
    std::vector<Word> big_pairs, small_pairs;

    static const Word* words(const std::vector<Element>& image) { return (const Word*)image.data(); }

    void pad(const Element* image, int height, int width, int channels, bool relu, std::vector<Element>& padded) {
        for (int y = 0; y < height; ++y) {
            const Element* from = image + (long)y * width * channels;
            Element* to = padded.data() + ((y + s.padding) * (width + 2 * s.padding) + s.padding) * channels;
            for (int i = 0; i < width * channels; ++i) to[i] = relu ? P::relu(from[i]) : from[i];
        }
    }

    // Patches of neighbouring pixels, and the pixels, interleaved.
    void pair(const Element* small_image) {
        const int patch = s.kernel() * s.big_channels;
        Word* to = big_pairs.data();
        for (int y = 0; y < 2 * s.height + 2 * s.padding; ++y)
            for (int x = 0; x < s.width; x += 2, to += patch) {
                const Element* left = big.data() + y * s.big_row() + 2 * x * s.big_channels;
                interleave(left, left + 2 * s.big_channels, patch, to);
            }
        to = small_pairs.data();
        for (int i = 0; i < s.small_pixels(); i += 2, to += s.small_channels)
            interleave(small_image + i * s.small_channels, small_image + (i + 1) * s.small_channels, s.small_channels, to);
    }

    static void interleave(const Element* low, const Element* high, int count, Word* to) {
        for (int i = 0; i < count; ++i) to[i] = (Word)low[i] | (Word)high[i] << 16;
    }
};

// Each channel's pixels less their mean, times scale = 1 / √(variance + ε).
template <class P, int CHANNELS>
void standardise(const float* pixels, int count, typename P::Element* result, float* scale) {
    float mean[CHANNELS] = {}, squares[CHANNELS] = {};
    for (int i = 0; i < count; ++i)
        for (int c = 0; c < CHANNELS; ++c) mean[c] += pixels[i * CHANNELS + c];
    for (float& m : mean) m /= count;
    for (int i = 0; i < count; ++i)
        for (int c = 0; c < CHANNELS; ++c) {
            const float centred = pixels[i * CHANNELS + c] - mean[c];
            squares[c] += centred * centred;
        }
    for (int c = 0; c < CHANNELS; ++c) scale[c] = 1 / std::sqrt(squares[c] / count + EPSILON);
    for (int i = 0; i < count; ++i)
        for (int c = 0; c < CHANNELS; ++c)
            result[i * CHANNELS + c] = P::narrow((pixels[i * CHANNELS + c] - mean[c]) * scale[c]);
}

// The gradient of what `standardise` was given, from that of its result.
template <class P, int CHANNELS>
void standardise_backward(const typename P::Element* gradient, const typename P::Element* standardised,
                          const float* scale, int count, typename P::Element* result) {
    float mean[CHANNELS] = {}, slope[CHANNELS] = {};
    for (int i = 0; i < count; ++i)
        for (int c = 0; c < CHANNELS; ++c) {
            const float g = P::widen(gradient[i * CHANNELS + c]);
            mean[c] += g;
            slope[c] += g * P::widen(standardised[i * CHANNELS + c]);
        }
    for (int c = 0; c < CHANNELS; ++c) mean[c] /= count, slope[c] /= count;
    for (int i = 0; i < count; ++i)
        for (int c = 0; c < CHANNELS; ++c) {
            const int at = i * CHANNELS + c;
            const float g = P::widen(gradient[at]) - mean[c] - P::widen(standardised[at]) * slope[c];
            result[at] = P::narrow(scale[c] * g);
        }
}

// An input's gradient: sums, where the ReLU before the input let it through.
template <class P>
void store_gradient(const float* sums, const typename P::Element* input, int count, bool relu,
                    typename P::Element* result) {
    for (int i = 0; i < count; ++i)
        result[i] = relu && !(P::widen(input[i]) > 0) ? P::narrow(0) : P::narrow(sums[i]);
}

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
        std::vector<std::vector<float>> totals(threads, std::vector<float>(shape.weights()));
        share(images, threads, [&](int thread, long first, long last) {
            Convolution<P> convolution(shape);
            std::vector<Element> output_gradient(output_values()), activated(input_values());
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
                    for (int j = 0; j < input_values(); ++j) activated[j] = relu ? P::relu(image[j]) : image[j];
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
        });
        for (int i = 0; i < shape.weights(); ++i) {
            weight_gradient[i] = 0;
            for (const auto& total : totals) weight_gradient[i] += total[i];
        }
    }
};

// A transposed 4×4 convolution to few channels: patches (height, width, 16·C) of each image, added where they overlap.
// weights: [small channel][row of the kernel][column of the kernel, big channel]
template <class P>
void lay_patches(const Shape& s, int images, int threads, bool relu, const typename P::Element* input,
                 const Word* weights, float* output) {
    const int columns = 4 * s.big_channels, steps = s.small_channels / P::PER_WORD;
    const Product p{1, steps, 4 * columns, 0, 1, 0};
    std::vector<long> a_rows, c_rows;
    for (int i = 0; i < s.small_pixels(); ++i)
        a_rows.push_back((long)i * steps), c_rows.push_back((long)i * p.columns);
    share(images, threads, [&](int, long first, long last) {
        std::vector<typename P::Element> activated(s.small_values());
        std::vector<float> patches(s.small_pixels() * p.columns), laid(s.padded_big());
        for (long image = first; image < last; ++image) {
            const auto* pixels = input + image * s.small_values();
            for (int i = 0; i < s.small_values(); ++i) activated[i] = relu ? P::relu(pixels[i]) : pixels[i];
            multiply<P>(p, s.small_pixels(), (const Word*)activated.data(), a_rows.data(), weights, patches.data(),
                        c_rows.data());
            std::fill(laid.begin(), laid.end(), 0.0f);
            const float* patch = patches.data();
            for (int y = 0; y < s.height; ++y)
                for (int x = 0; x < s.width; ++x)
                    for (int row = 0; row < 4; ++row, patch += columns) {
                        float* to = laid.data() + (2 * y + row) * s.big_row() + 2 * x * s.big_channels;
                        for (int i = 0; i < columns; ++i) to[i] += patch[i];
                    }
            const int row = 2 * s.width * s.big_channels;
            for (int y = 0; y < 2 * s.height; ++y)
                std::memcpy(output + image * s.big_values() + y * row,
                            laid.data() + (y + 1) * s.big_row() + s.big_channels, row * sizeof(float));
        }
    });
}

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
        lay_patches<P>(shape, images, threads, relu, input, weights, output);                                         \
    }

DEFINE(float32, Float32)
DEFINE(bfloat16, BFloat16)
