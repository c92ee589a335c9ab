#include <algorithm>

#include "cpu/batch_norm.h"
#include "cpu/kept_panels.h"
#include "cpu/winograd.h"
#include "tests/cpu_winograd_testing.h"

namespace {

using namespace hashgrad;
using namespace hashgrad::cpu_testing;

std::vector<double> to_double(const std::vector<float>& x) { return {x.begin(), x.end()}; }

// Small maps and rows, all paddings, channels that do not fill a panel, vectors and blocks of tiles that end
// within an image, groups of images that do not divide the batch.
const Conv2dShape shapes[] = {
    {1, 32, 6, 6, 32, 3, 3, 1, 1},    {2, 33, 6, 10, 35, 3, 3, 1, 2},   {9, 40, 8, 10, 32, 3, 3, 1, 0},
    {1, 32, 28, 28, 37, 3, 3, 1, 1},  {33, 64, 14, 14, 33, 3, 3, 1, 1}, {17, 129, 8, 8, 32, 3, 3, 1, 1},
    {10, 32, 32, 12, 32, 3, 3, 1, 1}, {0, 32, 8, 8, 32, 3, 3, 1, 1},    {1, 32, 6, 6, 32, 5, 5, 1, 2},
    {3, 33, 12, 10, 35, 5, 5, 1, 0},  {17, 40, 14, 14, 32, 5, 5, 1, 2}, {2, 65, 8, 6, 33, 5, 5, 1, 4}};

std::vector<float> forward(const Conv2dShape& s, const Data<float>& d, bool relu = false) {
  auto y = poisoned<float>(s.batch * output_size(s));
  cpu::conv2d_forward(s, d.x.data(), d.weight.data(), d.bias.data(), relu, y.data());
  return y;
}

std::vector<float> backward(const Conv2dShape& s, const Data<float>& d) {
  auto dx = poisoned<float>(s.batch * image_size(s));
  cpu::conv2d_backward_input(s, d.weight.data(), {d.dy.data()}, dx.data());
  return dx;
}

TEST_CASE("Winograd's convolution and its input gradient agree with float64, which goes the direct way") {
  for (const Conv2dShape& s : shapes) {
    CAPTURE(named(s));
    REQUIRE(cpu::winograd_fits(s, 0));
    const Data<float> d(s);
    std::vector<double> y(d.dy.size()), dx(d.x.size());
    cpu::conv2d_forward(s, to_double(d.x).data(), to_double(d.weight).data(), to_double(d.bias).data(), false,
                        y.data());
    cpu::conv2d_backward_input(s, to_double(d.weight).data(), {to_double(d.dy).data()}, dx.data());
    for_each_isa([&] {
      CHECK(distance(forward(s, d), y) <= tolerance<float>(s.depth()));
      CHECK(distance(backward(s, d), dx) <= tolerance<float>(s.out_channels * s.kernel_h * s.kernel_w));
    });
  }
}

TEST_CASE("in bf16, with products of pairs, it is off by the rounding of transformed operands") {
  const MathScope bf16(Math::bf16);
  for_each_isa([&] {
    CHECK(cpu::winograd_fits(shapes[0], 1) == (cpu::isa() == cpu::Isa::avx512bf16));
    if (cpu::isa() != cpu::Isa::avx512bf16) return;
    std::vector<Conv2dShape> all(std::begin(shapes), std::end(shapes));
    all.push_back({19, 33, 4, 4, 70, 3, 3, 1, 1});  // of fp32 only where there are six outputs in a line
    for (const Conv2dShape& s : all) {
      CHECK(cpu::winograd_fits(s, 1));
      CAPTURE(named(s));
      const Data<float> d(s);
      std::vector<double> y(d.dy.size()), dx(d.x.size());
      cpu::conv2d_forward(s, to_double(d.x).data(), to_double(d.weight).data(), to_double(d.bias).data(),
                          false, y.data());
      cpu::conv2d_backward_input(s, to_double(d.weight).data(), {to_double(d.dy).data()}, dx.data());
      const auto is_rounding = [](double error, int64_t terms) {
        const double typical = 0x1p-9 * std::sqrt(static_cast<double>(terms));
        CHECK(error < 5 * typical);
        CHECK(error > typical);  // of no more than bf16
      };
      if (s.batch == 0) continue;
      is_rounding(distance(forward(s, d), y), s.depth());
      is_rounding(distance(backward(s, d), dx), s.out_channels * s.kernel_h * s.kernel_w);
    }
  });
}

TEST_CASE("products of small whole numbers are exact in bf16, but not where inputs are transformed first") {
  const Conv2dShape s{2, 32, 8, 8, 33, 3, 3, 1, 1};
  Data<float> d(s);
  for (float& v : d.x) v = std::round(127 * v);
  for (float& v : d.weight) v = std::round(2 * v);
  for (float& v : d.bias) v = 0;
  std::vector<double> want(d.dy.size());
  cpu::conv2d_forward(s, to_double(d.x).data(), to_double(d.weight).data(), to_double(d.bias).data(), false,
                      want.data());
  const MathScope bf16(Math::bf16);
  for_each_isa([&] {
    const double error = distance(forward(s, d), want);
    if (cpu::isa() == cpu::Isa::avx512bf16)
      CHECK(error > 0);
    else
      CHECK(error == 0);
  });
}

TEST_CASE("in bf16 with products of pairs gradients take the way of fewer products") {
  const auto in = [](Math math, const auto& compute) {
    const MathScope scope(math);
    return compute();
  };
  for_each_isa([&] {
    if (cpu::isa() != cpu::Isa::avx512bf16) return;
    constexpr int64_t copies = 3;
    const Conv2dShape s{5, 33, 8, 12, 35, 3, 3, 1, 1};
    const Data<float> d(s);
    const int64_t outputs = s.batch * output_size(s), inputs = s.batch * image_size(s), width = s.out_width();
    auto pooled = poisoned<float>(outputs / 4);
    std::vector<uint8_t> argmax(pooled.size());
    cpu::conv2d_relu_pool_forward(s, d.x.data(), d.weight.data(), d.bias.data(), pooled.data(),
                                  argmax.data());
    const auto dpooled = random_values<float>(copies * outputs / 4, 8);
    const cpu::Conv2dGradient<float> gradient{dpooled.data(), pooled.data(), argmax.data()};

    // Behind pooling: Winograd's way, of the gradient in its places.
    std::vector<float> dy(static_cast<size_t>(copies * outputs));
    for (int64_t i = 0; i < copies * outputs / 4; ++i) {
      const size_t window = static_cast<size_t>(i % (outputs / 4));
      const int64_t row = 2 * (i / (width / 2)) + argmax[window] / 2, column = 2 * (i % (width / 2));
      if (pooled[window] > 0)
        dy[static_cast<size_t>(row * width + column + argmax[window] % 2)] = dpooled[static_cast<size_t>(i)];
    }
    const auto behind_pooling = [&] {
      auto dx = poisoned<float>(copies * inputs);
      cpu::conv2d_backward_input(s, d.weight.data(), gradient, dx.data(), copies);
      return dx;
    };
    const auto in_places = [&] {
      auto dx = poisoned<float>(copies * inputs);
      for (int64_t c = 0; c < copies; ++c)
        cpu::conv2d_backward_input(s, d.weight.data(), {dy.data() + c * outputs}, dx.data() + c * inputs);
      return dx;
    };
    CHECK(same_bits(in(Math::bf16, behind_pooling), in(Math::bf16, in_places)));
    CHECK(!same_bits(in(Math::bf16, behind_pooling), in(Math::fp32, behind_pooling)));

    const auto weights = [&] {  // in floats
      auto dw = poisoned<float>(s.out_channels * s.depth());
      cpu::conv2d_backward_weight<float>(s, d.x.data(), gradient, dw.data(), nullptr);
      return dw;
    };
    CHECK(same_bits(in(Math::bf16, weights), in(Math::fp32, weights)));

    const Conv2dShape first{3, 3, 8, 16, 33, 3, 3, 1, 1};
    const Data<float> of_first(first);
    const auto of_inputs = [&] { return backward(first, of_first); };
    CHECK(same_bits(in(Math::bf16, of_inputs), in(Math::fp32, of_inputs)));
  });
}

TEST_CASE("Winograd's convolution fused with relu, pooling and norm has the bits of its parts") {
  for (const Conv2dShape& s :
       {Conv2dShape{3, 32, 8, 12, 35, 3, 3, 1, 1}, Conv2dShape{40, 33, 14, 8, 32, 3, 3, 1, 1},
        Conv2dShape{9, 32, 14, 12, 33, 5, 5, 1, 2}})
    for_each_arithmetic([&] {
      const Data<float> d(s);
      const std::vector<float> plain = forward(s, d);
      std::vector<float> y = plain;
      for (float& v : y) v = std::max(v, 0.0f);
      CHECK(same_bits(forward(s, d, true), y));

      auto pooled = poisoned<float>(s.batch * output_size(s) / 4);
      std::vector<uint8_t> argmax(pooled.size(), 99);
      cpu::conv2d_relu_pool_forward(s, d.x.data(), d.weight.data(), d.bias.data(), pooled.data(),
                                    argmax.data());
      bool same = true;
      const int64_t width = s.out_width();
      for (size_t i = 0; i < pooled.size(); ++i) {
        const int64_t at = static_cast<int64_t>(i), row = at / (width / 2), column = at % (width / 2);
        const float* const window = y.data() + 2 * row * width + 2 * column;
        const float of[] = {window[0], window[1], window[width], window[width + 1]};
        const auto* const most = std::max_element(of, of + 4);
        same = same && pooled[i] == *most && argmax[i] == most - of;
      }
      CHECK(same);

      const auto mean = random_values<float>(s.out_channels, 5),
                 gamma = random_values<float>(s.out_channels, 6),
                 added = random_values<float>(s.batch * output_size(s), 7);
      const std::vector<float> variance(static_cast<size_t>(s.out_channels), 0.7f);
      auto got = poisoned<float>(s.batch * output_size(s)), want = got;
      cpu::conv2d_norm_forward(
          s, d.x.data(), d.weight.data(), d.bias.data(),
          {mean.data(), variance.data(), 1e-5f, gamma.data(), nullptr, added.data(), true}, got.data());
      cpu::batch_norm_forward<float>({s.batch, s.out_channels, s.out_pixels()}, plain.data(), mean.data(),
                                     variance.data(), 1e-5f, gamma.data(), nullptr, added.data(), true,
                                     want.data());
      CHECK(same_bits(got, want));

      std::vector<float> gated = d.dy;
      for (size_t i = 0; i < gated.size(); ++i) gated[i] = y[i] > 0 ? gated[i] : 0.0f;
      auto dx = poisoned<float>(s.batch * image_size(s)), dx_of_gated = dx;
      cpu::conv2d_backward_input(s, d.weight.data(), {d.dy.data(), y.data()}, dx.data());
      cpu::conv2d_backward_input(s, d.weight.data(), {gated.data()}, dx_of_gated.data());
      CHECK(same_bits(dx, dx_of_gated));
    });
}

TEST_CASE("Winograd's convolution has the same bits however its batch is cut, on any threads") {
  for (const Conv2dShape& all :
       {Conv2dShape{33, 32, 14, 14, 37, 3, 3, 1, 1}, Conv2dShape{33, 65, 8, 6, 32, 3, 3, 1, 1},
        Conv2dShape{33, 32, 28, 28, 32, 3, 3, 1, 1}, Conv2dShape{33, 32, 14, 10, 37, 5, 5, 1, 2},
        Conv2dShape{33, 33, 4, 4, 37, 3, 3, 1, 1},
        // So many channels that a block has eight tiles where vectors are short.
        Conv2dShape{33, 160, 12, 12, 32, 5, 5, 1, 2}})
    for_each_arithmetic([&] {
      const Data<float> d(all);
      const std::vector<float> y = forward(all, d), dx = backward(all, d);
      constexpr int64_t first = 5;
      for (const int64_t count : {1, 2, 7, 8, 17}) {
        Conv2dShape some = all;
        some.batch = count;
        Data<float> part = d;
        part.x.erase(part.x.begin(), part.x.begin() + first * image_size(all));
        part.dy.erase(part.dy.begin(), part.dy.begin() + first * output_size(all));
        const auto y_at = y.begin() + first * output_size(all), dx_at = dx.begin() + first * image_size(all);
        CHECK(same_bits(forward(some, part), {y_at, y_at + count * output_size(all)}));
        CHECK(same_bits(backward(some, part), {dx_at, dx_at + count * image_size(all)}));
      }
      check_threads([&] { return forward(all, d); });
      check_threads([&] { return backward(all, d); });
    });
}

TEST_CASE("Winograd's convolution has the same bits on all machines that multiply and add at once") {
  for (const Conv2dShape& s : shapes) {
    const Data<float> d(s);
    std::vector<std::vector<float>> results;
    for_each_isa([&] {
      if (cpu::isa() == cpu::Isa::plain) return;
      results.push_back(forward(s, d));
      const std::vector<float> dx = backward(s, d);
      results.back().insert(results.back().end(), dx.begin(), dx.end());
    });
    for (const auto& other : results) CHECK(same_bits(other, results.front()));
  }
}

/// Outputs of rows and columns [first, first + size) of one image, computed from the inputs these see.
std::vector<float> piece_of(const Conv2dShape& s, const Data<float>& d, cpu::OutputRange rows,
                            cpu::OutputRange columns) {
  const Conv2dShape piece{1,
                          s.in_channels,
                          rows.size + s.kernel_h - 1,
                          columns.size + s.kernel_w - 1,
                          s.out_channels,
                          s.kernel_h,
                          s.kernel_w,
                          1,
                          0};
  std::vector<float> x;
  for (int64_t c = 0; c < s.in_channels; ++c)
    for (int64_t i = rows.first - s.padding; i < rows.first - s.padding + piece.height; ++i)
      for (int64_t j = columns.first - s.padding; j < columns.first - s.padding + piece.width; ++j)
        x.push_back(i < 0 || i >= s.height || j < 0 || j >= s.width
                        ? 0.0f
                        : d.x[static_cast<size_t>((c * s.height + i) * s.width + j)]);
  auto y = poisoned<float>(output_size(piece));
  cpu::conv2d_forward(piece, x.data(), d.weight.data(), d.bias.data(), false, y.data());
  return y;
}

TEST_CASE("pieces of maps have the bits of the whole in the tiles of the whole") {
  // Both ways: even extents, and odd or few outputs, for which the direct way is taken.
  for (const Conv2dShape& s :
       {Conv2dShape{1, 32, 12, 14, 32, 3, 3, 1, 1}, Conv2dShape{1, 33, 13, 10, 32, 3, 3, 1, 1},
        Conv2dShape{1, 32, 10, 9, 33, 3, 3, 1, 1}, Conv2dShape{1, 32, 4, 12, 32, 3, 3, 1, 1},
        Conv2dShape{1, 7, 12, 12, 32, 3, 3, 1, 1}, Conv2dShape{1, 32, 14, 10, 32, 5, 5, 1, 2},
        Conv2dShape{1, 32, 12, 13, 32, 5, 5, 1, 2}}) {
    CAPTURE(named(s));
    const Data<float> d(s);
    for_each_arithmetic([&] {
      const std::vector<float> y = forward(s, d);
      for (const int64_t size : {1, 3, 4, 6, 7})
        for (int64_t at = 0; at + std::min(size, s.out_height()) <= s.out_height(); ++at) {
          const auto range = [&](int64_t first, int64_t outputs) {
            const int64_t wanted = std::min(size, outputs);
            const cpu::OutputRange r =
                cpu::same_tiles(s, {std::min(first, outputs - wanted), wanted}, outputs);
            REQUIRE(r.first >= 0);
            REQUIRE(r.first <= std::min(first, outputs - wanted));
            REQUIRE(r.first + r.size >= std::min(first, outputs - wanted) + wanted);
            REQUIRE(r.first + r.size <= outputs);
            return r;
          };
          const cpu::OutputRange rows = range(at, s.out_height()), columns = range(2 * at / 3, s.out_width());
          const std::vector<float> piece = piece_of(s, d, rows, columns);
          bool same = true;
          for (int64_t i = 0; i < std::ssize(piece); ++i) {
            const int64_t c = i / (rows.size * columns.size), r = rows.first + i / columns.size % rows.size;
            same = same && piece[static_cast<size_t>(i)] ==
                               y[static_cast<size_t>((c * s.out_height() + r) * s.out_width() +
                                                     columns.first + i % columns.size)];
          }
          CHECK(same);
        }
    });
  }
}

TEST_CASE("Winograd's weights are transformed once while they are kept, for each direction") {
  for (const Conv2dShape& s :
       {Conv2dShape{2, 32, 8, 8, 35, 3, 3, 1, 1}, Conv2dShape{2, 32, 8, 8, 35, 5, 5, 1, 2}})
    for_each_arithmetic([&] {
      Data<float> d(s);
      const std::vector<float> y = forward(s, d), dx = backward(s, d);
      const cpu::KeepPanels kept({d.weight.data()});
      CHECK(same_bits(forward(s, d), y));
      CHECK(same_bits(backward(s, d), dx));
      std::fill(d.weight.begin(), d.weight.end(), 0.0f);  // nobody looks
      CHECK(same_bits(forward(s, d), y));
      CHECK(same_bits(backward(s, d), dx));
    });
}

TEST_CASE("weights are kept apart for each arithmetic") {
  const Conv2dShape s{2, 32, 8, 8, 35, 3, 3, 1, 1};
  const Data<float> d(s);
  for_each_isa([&] {
    const auto in = [&](Math math) {
      const MathScope scope(math);
      return forward(s, d);
    };
    const std::vector<float> exact = in(Math::fp32), rounded = in(Math::bf16);
    const cpu::KeepPanels kept({d.weight.data()});
    for (int i = 0; i < 2; ++i) {
      CHECK(same_bits(in(Math::bf16), rounded));
      CHECK(same_bits(in(Math::fp32), exact));
    }
  });
}

TEST_CASE("a NaN or an infinity reaches the outputs that see it") {
  for (const int64_t side : {3, 5})
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      const Conv2dShape s{1, 32, 8, 8, 32, side, side, 1, side / 2};
      Data<float> d(s);
      d.x[3 * 64 + 8 * 4 + 4] = bad;  // channel 3, row 4, column 4
      for_each_arithmetic([&] {
        const std::vector<float> y = forward(s, d, std::isnan(bad));
        for (int64_t r = 4 - side / 2; r <= 4 + side / 2; ++r)
          for (int64_t c = 4 - side / 2; c <= 4 + side / 2; ++c)
            CHECK(!std::isfinite(y[static_cast<size_t>(r * 8 + c)]));
      });
    }
}

}  // namespace
