// The sums of `convolution.h` for kernels 4×4 in float32, with 9 multiplications in the place of 16.
//
// Each parity of the big image's rows and columns meets 2×2 taps of the kernel, at a stride of 1. Two results of two
// taps, y₀ = d₀g₀ + d₁g₁ and y₁ = d₁g₀ + d₂g₁, take three products in place of four:
//
//   m₀ = (d₀ − d₁) g₀      m₁ = d₁ (g₀ + g₁)      m₂ = (d₂ − d₁) g₁      y₀ = m₀ + m₁      y₁ = m₁ + m₂
//
// F(2, 2) of Winograd (1980), here in both directions and with the last step after the sum over channels, as in Lavin
// and Gray (2016). A gradient of two taps is of the same form, with a tile's values for g. So the sums are products of
// nine matrices, whose rows are tiles of 2×2 small pixels.

#pragma once

#include <algorithm>
#include <vector>

#include "convolution.h"

// What the formulas do in one direction.
struct OfData {
    static constexpr int INPUTS = 3, OUTPUTS = 3;
    static void apply(const Vector* d, Vector* to) { to[0] = d[0] - d[1], to[1] = d[1], to[2] = d[2] - d[1]; }
};
struct OfFactors {
    static constexpr int INPUTS = 2, OUTPUTS = 3;
    static void apply(const Vector* g, Vector* to) { to[0] = g[0], to[1] = g[0] + g[1], to[2] = g[1]; }
};
struct OfProducts {
    static constexpr int INPUTS = 3, OUTPUTS = 2;
    static void apply(const Vector* m, Vector* to) { to[0] = m[0] + m[1], to[1] = m[1] + m[2]; }
};

// How far tiles are apart, and the values of a tile, in floats.
struct Grid {
    long tile_down, tile_right, down, right;
};

// Applies a step in both directions of each tile; its values are vectors of `count`, LANES times a number.
template <class Step>
void transform(int rows, int columns, long count, const float* from, const Grid& in, float* to, const Grid& out) {
    constexpr int INPUTS = Step::INPUTS, OUTPUTS = Step::OUTPUTS;
    for (int tile = 0; tile < rows * columns; ++tile) {
        const float* source = from + tile / columns * in.tile_down + tile % columns * in.tile_right;
        float* target = to + tile / columns * out.tile_down + tile % columns * out.tile_right;
        for (long v = 0; v < count; v += LANES) {
            Vector values[INPUTS][OUTPUTS];
            for (int j = 0; j < INPUTS; ++j) {
                Vector column[INPUTS];
                for (int i = 0; i < INPUTS; ++i) column[i] = load<Vector>(source + i * in.down + j * in.right + v);
                Step::apply(column, values[j]);
            }
            for (int i = 0; i < OUTPUTS; ++i) {
                Vector row[INPUTS], results[OUTPUTS];
                for (int j = 0; j < INPUTS; ++j) row[j] = values[j][i];
                Step::apply(row, results);
                for (int j = 0; j < OUTPUTS; ++j) store(target + i * out.down + j * out.right + v, results[j]);
            }
        }
    }
}

// As `Convolution<Float32>`, of several images or a strip of one at a time.
class Winograd {
    static constexpr int PRODUCTS = 9;
    static constexpr int TILES = 32;  // at a time: their matrices stay in the cache
    static constexpr int APART = LINE / sizeof(float);  // between rows, or many would fall into the same cache lines

    const Shape s;
    const bool gathers;
    const int C = s.big_channels, O = s.small_channels, columns = s.width / 2, strip = strip_of(s);

  public:
    const int together = std::max(1, TILES / (s.height / 2 * columns));
    Buffer<float> sums;

    static bool suits(const Shape& s) {
        return s.padding == 1 && s.height % 2 == 0 && s.width % 2 == 0 && strip_of(s) > 0 &&
               s.height / 2 % strip_of(s) == 0 && s.big_channels % LANES == 0 && s.small_channels % LANES == 0;
    }

    static long total_values(const Shape& s) { return PRODUCTS * 4L * s.big_channels * s.small_channels; }

    Winograd(const Shape& shape, const Word* weights, bool gathers)
        : s(shape), gathers(gathers), sums((long)together * std::max(s.big_values(), s.small_values())),
          big((4 * strip + 2) * s.big_row()), small(together * padded_small),
          data(tiles * PRODUCTS * (std::max(4 * C, O) + APART)), factors(tiles * PRODUCTS * O),
          products(tiles * PRODUCTS * std::max(C, O)), kernel(total_values(s)),
          data_columns(4 * C), total_rows(4 * C) {
        for (int i = 0; i < 4 * C; ++i) data_columns[i] = i, total_rows[i] = (long)i * O;
        const long n = (long)C * O;
        const Grid grid = gathers ? weight_grid(s) : Grid{8 * n, 4 * n, 2 * n, n};
        if (weights) transform<OfFactors>(2, 2, n, (const float*)weights, grid, kernel.data(), total_grid(s));
    }

    void forward(int images, const float* input, bool relu) {
        for (int first = 0; first < s.height / 2; first += strip) {
            if (gathers) {
                lay_big(images, input, relu, first);
                gather(images, first);
            } else {
                lay_small(images, input, relu, first);
                scatter(images, first);
            }
        }
    }

    void backward(int images, const float* big_images, const float* small_images, bool relu, float* total,
                  bool wanted) {
        for (int first = 0; first < s.height / 2; first += strip) {
            lay_big(images, big_images, relu && !gathers, first);
            lay_small(images, small_images, relu && gathers, first);
            correlate(images, total);
            if (wanted) gathers ? gather(images, first) : scatter(images, first);
        }
    }

    void finish(float*) {}  // nothing is left to add

    static void weights_of(const Shape& s, const float* total, float* weights) {
        const long n = (long)s.big_channels * s.small_channels;
        transform<OfProducts>(2, 2, n, total, total_grid(s), weights, weight_grid(s));
    }

  private:
    // Rows of tiles of an image that are taken at a time; none where a row has too many.
    static int strip_of(const Shape& s) { return s.width < 2 ? 0 : std::min(s.height / 2, TILES / (s.width / 2)); }

    const long per_image = strip * columns, tiles = together * per_image;
    const long padded_small = (2 * strip + 2) * s.small_row();
    Buffer<float> big, small;                       // a strip of one image, and of all, padded
    Buffer<float> data, factors, products, kernel;  // nine matrices each
    std::vector<long> data_columns, total_rows;     // where they start

    // Of weights, the tiles are the parities, also in the kernel's nine matrices and a total's.
    static Grid weight_grid(const Shape& s) {
        const long n = (long)s.big_channels * s.small_channels;
        return {4 * n, n, 8 * n, 2 * n};
    }
    static Grid total_grid(const Shape& s) {
        const long n = (long)s.big_channels * s.small_channels;
        return {2 * n, n, 12 * n, 4 * n};
    }
    Grid matrix_grid(long row) const { return {columns * row, row, 3 * tiles * row, tiles * row}; }
    Grid small_grid() const { return {2L * s.small_row(), 2 * O, s.small_row(), O}; }

    // Each of these takes the strip whose first row of tiles is `first`.
    void lay_big(int images, const float* image, bool relu, int first) {
        const long row = 4 * C + APART, big_row = s.big_row();
        for (int i = 0; i < images; ++i, image += s.big_values()) {
            pad<Float32>(image, 2 * s.height, 2 * s.width, C, 1, relu, 4 * first, 4 * (first + strip) + 2, big.data());
            for (int parity = 0; parity < 2; ++parity)
                transform<OfData>(strip, columns, 2 * C, &big[parity * big_row],
                                  {4 * big_row, 4 * C, 2 * big_row, 2 * C},
                                  &data[i * per_image * row + parity * 2 * C], matrix_grid(row));
        }
    }

    void lay_small(int images, const float* image, bool relu, int first) {
        for (int i = 0; i < images; ++i, image += s.small_values())
            pad<Float32>(image, s.height, s.width, O, 1, relu, 2 * first, 2 * (first + strip) + 2,
                         &small[i * padded_small]);
    }

    void gather(int images, int first) {
        multiply_all(images, 4 * C, kernel.data(), O);
        for (int i = 0; i < images; ++i)
            transform<OfProducts>(strip, columns, O, &products[i * per_image * O], matrix_grid(O),
                                  &sums[i * s.small_values() + 2 * first * s.width * O],
                                  {2L * s.width * O, 2 * O, s.width * O, O});
    }

    void scatter(int images, int first) {
        const long row = O + APART, image_row = 2 * s.width * C;
        for (int parity = 0; parity < 4; ++parity) {
            const int y = parity / 2, x = parity % 2;
            for (int i = 0; i < images; ++i)
                transform<OfData>(strip, columns, O, &small[i * padded_small + y * s.small_row() + x * O], small_grid(),
                                  &data[i * per_image * row], matrix_grid(row));
            multiply_all(images, O, &kernel[(long)parity * C * O], C);
            for (int i = 0; i < images; ++i)
                transform<OfProducts>(strip, columns, C, &products[i * per_image * C], matrix_grid(C),
                                      &sums[i * s.big_values() + (4 * first + y) * image_row + x * C],
                                      {4 * image_row, 4 * C, 2 * image_row, 2 * C});
        }
    }

    // products = data · matrices (depth, channels) of the kernel
    void multiply_all(int images, int depth, const float* matrices, int channels) {
        const Product p{1, depth, channels, 0, 1, 0};
        const long row = depth + APART;
        long a_rows[TILES], c_rows[TILES];
        for (int i = 0; i < TILES; ++i) a_rows[i] = i * row, c_rows[i] = (long)i * channels;
        for (long k = 0; k < PRODUCTS; ++k)
            multiply<Float32>(p, images * per_image, words(&data[k * tiles * row]), a_rows,
                              words(matrices + k * 4 * C * O), &products[k * tiles * channels], c_rows);
    }

    void correlate(int images, float* total) {
        for (int i = 0; i < images; ++i)
            transform<OfFactors>(strip, columns, O, &small[i * padded_small + s.small_row() + O], small_grid(),
                                 &factors[i * per_image * O], matrix_grid(O));
        const long row = 4 * C + APART;
        const Product p{1, (int)(images * per_image), O, 0, row, 0, true};
        for (long k = 0; k < PRODUCTS; ++k)
            multiply<Float32>(p, 4 * C, words(&data[k * tiles * row]), data_columns.data(),
                              words(&factors[k * tiles * O]), total + k * 4 * C * O, total_rows.data());
    }

    static const Word* words(const float* values) { return (const Word*)values; }
};
