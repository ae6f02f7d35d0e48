// A convolution of stride 2 relates a big image (2H, 2W, C) to a small one (H, W, O), both channels last; kernels are
// 4×4 with a padding of 1, or 2×2 without. Three sums are all that training needs, of a convolution as of a transposed
// one:
//
//   gather      a small pixel from its patch of the big image     convolution; gradient of a transposed one's input
//   scatter     a big pixel from the small pixels that reach it   transposed convolution; gradient of one's input
//   correlate   a weight from all pixels                          gradient of either one's weights
//
// In memory, a row of a patch is contiguous. So each sum is a matrix product whose rows may start anywhere.

#pragma once

#include <algorithm>
#include <vector>

#include "buffer.h"
#include "matrix_unit.h"
#include "pairs.h"

struct Shape {
    int height, width, big_channels, small_channels, padding;  // of the small image; padding 1: 4×4, 0: 2×2

    int kernel() const { return 2 * padding + 2; }
    int patch() const { return kernel() * kernel() * big_channels; }
    int small_pixels() const { return height * width; }
    int big_pixels() const { return 4 * height * width; }
    int small_values() const { return small_pixels() * small_channels; }
    int big_values() const { return big_pixels() * big_channels; }
    int weights() const { return patch() * small_channels; }
    int big_row() const { return (2 * width + 2 * padding) * big_channels; }  // with its padding
    int small_row() const { return (width + 2 * padding) * small_channels; }
    int padded_big() const { return (2 * height + 2 * padding) * big_row(); }
    int padded_small() const { return (height + 2 * padding) * small_row(); }
};

// Rows first to last of an image in a border of zeros, cut by the ReLU if asked for. The border's columns stay as they
// are: zero in a new buffer.
template <class P>
void pad(const typename P::Element* image, int height, int width, int channels, int padding, bool relu, int first,
         int last, typename P::Element* to) {
    for (int y = first - padding; y < last - padding; ++y, to += (width + 2 * padding) * channels) {
        typename P::Element* row = to + padding * channels;
        if (y < 0 || y >= height)
            std::fill(row, row + width * channels, typename P::Element{});
        else
            copy<P>(image + (long)y * width * channels, width * channels, relu, row);
    }
}

// The three sums of one shape, and an image's memory for them.
template <class P>
class Convolution {
    using Element = typename P::Element;
    static constexpr int PER_WORD = P::PER_WORD;
    static constexpr int PIXELS = 256;  // that a correlation of pairs takes together, at least

    const Shape s;
    const Word* const weights;
    const bool gathers;

  public:
    static constexpr int together = 1;  // images at a time: how many a call gets
    Buffer<float> sums;                 // of whichever images are computed

    static long total_values(const Shape& s) { return s.weights(); }

    // weights: of `gather`, [row of the kernel][column of the kernel, big channel][small channel], or of `scatter`,
    // [row's parity, column's parity][row of taps][column of taps, small channel][big channel]; or null for neither.
    Convolution(const Shape& shape, const Word* weights, bool gathers)
        : s(shape), weights(weights), gathers(gathers), sums(std::max(s.big_values(), s.small_values())),
          big(s.padded_big()), small(s.padded_small()), activated(s.small_values()),
          big_pairs(PER_WORD == 2 ? (long)s.patch() * capacity : 0),
          small_pairs(PER_WORD == 2 ? (long)s.small_channels * capacity : 0) {
        for (int y = 0; y < s.height; ++y)
            for (int x = 0; x < s.width; ++x) {
                patch_rows.push_back((2L * y * s.big_row() + 2 * x * s.big_channels) / PER_WORD);
                tap_rows.push_back((long)(y * s.small_row() + x * s.small_channels) / PER_WORD);
                small_rows.push_back((long)(y * s.width + x) * s.small_channels);
                big_rows.push_back((4L * y * s.width + 2 * x) * s.big_channels);
            }
        for (int i = 0; i < (PER_WORD == 2 ? s.small_channels : s.kernel() * s.big_channels); ++i) {
            channel_words.push_back(PER_WORD == 2 ? (long)i * capacity : i);
            weight_rows.push_back((long)i * (PER_WORD == 2 ? s.patch() : s.small_channels));
        }
    }

    // The sums of what a layer is given: a big image where it gathers, else a small one. relu: of the image, first.
    void forward(int, const Element* image, bool relu) {
        if (gathers) {
            set_big(image, relu);
            gather();
        } else {
            set_small(image, relu);
            scatter();
        }
    }

    // Adds the weights' gradient to a total, sooner or later, and computes the input's if wanted: the sums of the
    // output's gradient, which is big where it gathers. relu: of the other image, the layer's input.
    void backward(int, const Element* big_image, const Element* small_image, bool relu, float* total, bool wanted) {
        set_big(big_image, relu && !gathers);
        if (relu && gathers) copy<P>(small_image, s.small_values(), true, activated.data());
        correlate(relu && gathers ? activated.data() : small_image, total);
        if (wanted && gathers) gather();
        if (wanted && !gathers) {
            set_small(small_image, false);
            scatter();
        }
    }

    // A total as weights of `gather`.
    static void weights_of(const Shape& s, const float* total, float* weights) {
        for (int k = 0; k < s.patch(); ++k)
            for (int channel = 0; channel < s.small_channels; ++channel)
                *weights++ = total[PER_WORD == 2 ? channel * s.patch() + k : k * s.small_channels + channel];
    }

    // Adds what `correlate` has not added yet.
    void finish(float* total) {
        if (pairs == 0) return;
        const int steps = (pairs + SQUARE - 1) / SQUARE * SQUARE;
        for (int i = 0; i < s.small_channels; ++i)
            std::fill(&small_pairs[i * capacity + pairs], &small_pairs[i * capacity] + steps, 0);
        const Product p{1, steps, column_block, 0, 1, 0, true};
        for (int k = 0; k < s.patch(); k += column_block) {
            Word* block = &big_pairs[(long)k * capacity];
            std::fill(block + pairs * column_block, block + steps * column_block, 0);
            multiply_fast<P>(p, s.small_channels, small_pairs.data(), channel_words.data(), block, total + k,
                             weight_rows.data());
        }
        pairs = 0;
    }

  private:
    std::vector<long> patch_rows, tap_rows, small_rows, big_rows, channel_words, weight_rows;
    // In bfloat16, pixels of several images in pairs: patches as blocks of columns, and small pixels as rows.
    const int column_block = s.patch() % 32 ? 16 : 32;
    const int capacity = (std::max(s.small_pixels(), PIXELS) / 2 + SQUARE - 1) / SQUARE * SQUARE;
    int pairs = 0;
    Buffer<Element> big, small, activated;  // the first two padded with zeros
    Buffer<Word> big_pairs, small_pairs;

    static const Word* words(const Buffer<Element>& image) { return (const Word*)image.data(); }

    void set_big(const Element* image, bool relu) {
        const int height = 2 * s.height;
        pad<P>(image, height, 2 * s.width, s.big_channels, s.padding, relu, 0, height + 2 * s.padding, big.data());
    }
    void set_small(const Element* image, bool relu) {
        pad<P>(image, s.height, s.width, s.small_channels, s.padding, relu, 0, s.height + 2 * s.padding, small.data());
    }

    void gather() {
        const int steps = s.kernel() * s.big_channels / PER_WORD;
        const Product p{s.kernel(), steps, s.small_channels, s.big_row() / PER_WORD, 1, (long)steps * s.small_channels};
        multiply_fast<P>(p, s.small_pixels(), words(big), patch_rows.data(), weights, sums.data(), small_rows.data());
    }

    void scatter() {
        const int taps = s.kernel() / 2, steps = taps * s.small_channels / PER_WORD;
        const Product p{taps, steps, s.big_channels, s.small_row() / PER_WORD, 1, (long)steps * s.big_channels};
        for (int parity = 0; parity < 4; ++parity) {
            const int y = parity / 2, x = parity % 2;
            const Word* first = words(small) + s.padding * (y * s.small_row() + x * s.small_channels) / PER_WORD;
            float* target = sums.data() + (y * 2 * s.width + x) * s.big_channels;
            multiply_fast<P>(p, s.small_pixels(), first, tap_rows.data(), weights + parity * taps * p.b_segment, target,
                             big_rows.data());
        }
    }

    // Of the padded big image and a small one without padding.
    void correlate(const Element* small_image, float* total) {
        if constexpr (PER_WORD == 2) {
            if (pairs + s.small_pixels() / 2 > capacity) finish(total);
            s.big_channels % SQUARE ? add_patches<4>() : add_patches<2 * SQUARE>();
            rows_of_pairs(small_image, s.small_pixels(), s.small_channels, &small_pairs[pairs], capacity);
            pairs += s.small_pixels() / 2;
        } else {
            const int patch_row = s.kernel() * s.big_channels;
            const Product p{s.height, s.width, s.small_channels, 2L * s.big_row(), 2L * s.big_channels,
                            (long)s.width * s.small_channels, true};
            for (int row = 0; row < s.kernel(); ++row)
                multiply<P>(p, patch_row, words(big) + row * s.big_row(), channel_words.data(),
                            (const Word*)small_image, total + row * patch_row * s.small_channels, weight_rows.data());
        }
    }

    // The patches of the big image, WIDTH columns at a time.
    template <int WIDTH>
    void add_patches() {
        const int patch_row = s.kernel() * s.big_channels;
        for (int row = 0; row < s.kernel(); ++row)
            for (int i = 0; i < patch_row; i += WIDTH) {
                const int k = row * patch_row + i, column = k % column_block;
                Word* to = &big_pairs[(long)(k - column) * capacity + (long)pairs * column_block + column];
                for (int y = 0; y < s.height; ++y) {
                    const Element* left = big.data() + (2 * y + row) * s.big_row() + i;
                    for (int x = 0; x < s.width; x += 2, left += 4 * s.big_channels, to += column_block)
                        interleave<WIDTH>(left, left + 2 * s.big_channels, to);
                }
            }
    }
};
