// A transposed 4×4 convolution to few channels: a matrix product gives each small pixel its patch of the big image, and
// patches are added where they overlap.

#pragma once

#include <vector>

#include "convolution.h"

// Patches of one image as planes (16·C) of small images, which have a border of zeros.
class Planes {
  public:
    explicit Planes(const Shape& shape)
        : s(shape), row(s.width + 2), plane((s.height + 2) * row), values(16L * s.big_channels * plane + LANES) {}

    // patches: (height, width, 16·C), a patch's values by row of the kernel, column of it, channel.
    void take(const float* patches) {
        const int columns = 16 * s.big_channels;
        for (int y = 0; y < s.height; ++y)
            for (int x = 0; x < s.width; x += SQUARE)
                for (int column = 0; column < columns; column += SQUARE) {
                    const int there = std::min(SQUARE, s.width - x);
                    alignas(LINE) Word square[SQUARE][SQUARE];
                    for (int i = 0; i < there; ++i)
                        std::memcpy(square[i], patches + (y * s.width + x + i) * columns + column, sizeof square[i]);
                    store_transposed(square, there, values.data() + column * plane + (y + 1) * row + x + 1, plane);
                }
    }

    // image: (C, 2·height, 2·width). A pixel is the sum of the two patches that reach it in each direction.
    void lay(float* image) const {
        for (int channel = 0; channel < s.big_channels; ++channel)
            for (int y = 0; y < s.height; ++y, image += 4 * s.width) {
                lay_row(tap(1, channel, y), tap(3, channel, y - 1), image);
                lay_row(tap(2, channel, y), tap(0, channel, y + 1), image + 2 * s.width);
            }
    }

  private:
    const Shape s;
    const int row, plane;
    Buffer<float> values;

    // A row of the plane of (row of the kernel, its column 0); those of its other columns lie `column` apart.
    const float* tap(int kernel_row, int channel, int y) const {
        return values.data() + (4 * kernel_row * s.big_channels + channel) * plane + (y + 1) * row + 1;
    }

    void lay_row(const float* first, const float* second, float* pixels) const {
        const int column = s.big_channels * plane;
        for (int x = 0; x < s.width; x += LANES) {
            const auto sum = [&](int at) { return load<Vector>(first + at + x) + load<Vector>(second + at + x); };
            float even[LANES], odd[LANES];
            store(even, sum(column) + sum(3 * column - 1));
            store(odd, sum(2 * column) + sum(1));
            const int there = std::min(LANES, s.width - x);
            for (int i = 0; i < there; ++i, pixels += 2) pixels[0] = even[i], pixels[1] = odd[i];
        }
    }
};

template <class P>
void lay_patches(const Shape& s, int images, bool relu, const typename P::Element* input, const Word* weights,
                 float* output) {
    const int columns = 16 * s.big_channels, steps = s.small_channels / P::PER_WORD;
    const Product p{1, steps, columns, 0, 1, 0};
    std::vector<long> a_rows, c_rows;
    for (int i = 0; i < s.small_pixels(); ++i) a_rows.push_back((long)i * steps), c_rows.push_back((long)i * columns);
    Buffer<typename P::Element> activated(s.small_values());
    Buffer<float> patches(s.small_pixels() * columns);
    Planes planes(s);
    const MatrixUnit unit;
    for (int image = 0; image < images; ++image, input += s.small_values(), output += s.big_values()) {
        copy<P>(input, s.small_values(), relu, activated.data());
        multiply_fast<P>(p, s.small_pixels(), (const Word*)activated.data(), a_rows.data(), weights, patches.data(),
                         c_rows.data());
        planes.take(patches.data());
        planes.lay(output);
    }
}
