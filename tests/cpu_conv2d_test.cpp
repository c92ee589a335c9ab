#include <string>

#include "core/error.h"
#include "core/math_mode.h"
#include "cpu/conv2d.h"
#include "cpu/conv2d_pooled.h"
#include "tests/cpu_conv2d_testing.h"

namespace {

using namespace hashgrad;
using namespace hashgrad::cpu_testing;

/// Calls visit(y index, x index, weight index) for every product of the convolution.
template <class Visit>
void for_each_product(const Conv2dShape& s, const Visit& visit) {
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t o = 0; o < s.out_channels; ++o)
      for (int64_t p = 0; p < s.out_pixels(); ++p)
        for (int64_t c = 0; c < s.in_channels; ++c)
          for (int64_t r = 0; r < s.kernel_h; ++r)
            for (int64_t q = 0; q < s.kernel_w; ++q) {
              const int64_t y = p / s.out_width() * s.stride + r - s.padding;
              const int64_t x = p % s.out_width() * s.stride + q - s.padding;
              if (y < 0 || y >= s.height || x < 0 || x >= s.width) continue;
              visit(static_cast<size_t>((n * s.out_channels + o) * s.out_pixels() + p),
                    static_cast<size_t>(((n * s.in_channels + c) * s.height + y) * s.width + x),
                    static_cast<size_t>(((o * s.in_channels + c) * s.kernel_h + r) * s.kernel_w + q));
            }
}

/// Oracle of all three directions, in more than double, so that its own rounding does not count.
using Exact = long double;
struct Oracle {
  std::vector<Exact> y, dx, dweight, dbias;
};
template <class T>
Oracle oracle(const Conv2dShape& s, const std::vector<T>& x, const std::vector<T>& weight,
              const std::vector<T>& bias, const std::vector<T>& dy) {
  Oracle want{std::vector<Exact>(dy.size()), std::vector<Exact>(x.size()), std::vector<Exact>(weight.size()),
              std::vector<Exact>(bias.size())};
  for (size_t i = 0; i < dy.size(); ++i) {
    const size_t channel = i / static_cast<size_t>(s.out_pixels()) % bias.size();
    want.y[i] = bias[channel];
    want.dbias[channel] += dy[i];
  }
  for_each_product(s, [&](size_t iy, size_t ix, size_t iw) {
    want.y[iy] += static_cast<Exact>(x[ix]) * static_cast<Exact>(weight[iw]);
    want.dx[ix] += static_cast<Exact>(dy[iy]) * static_cast<Exact>(weight[iw]);
    want.dweight[iw] += static_cast<Exact>(dy[iy]) * static_cast<Exact>(x[ix]);
  });
  return want;
}

const Conv2dShape shapes[] = {
    {1, 1, 1, 1, 1, 1, 1},
    {2, 1, 5, 5, 3, 3, 3, 1, 1},
    {1, 1, 28, 28, 17, 5, 5, 1, 2},
    {9, 3, 9, 13, 7, 3, 3, 1, 1},
    {2, 5, 33, 17, 13, 3, 5, 1, 2},
    {3, 17, 14, 14, 33, 3, 3, 1, 1},
    {2, 4, 11, 11, 6, 3, 3, 2, 1},
    {2, 2, 12, 9, 5, 4, 2, 3, 0},
    {1, 33, 7, 7, 12, 1, 1, 1, 0},
    {2, 6, 4, 4, 5, 3, 3, 1, 3},
    {1, 5, 3, 3, 4, 3, 3, 1, 0},
    {2, 40, 20, 20, 3, 3, 3, 1, 1},
    {0, 3, 8, 8, 4, 3, 3, 1, 1},
    {17, 1, 6, 6, 2, 3, 3, 1, 1},
    {1, 129, 5, 5, 3, 2, 2, 2, 1},
    {3, 32, 9, 7, 14, 3, 3, 1, 1},
    {2, 64, 9, 11, 9, 3, 2, 2, 1},
    // Rows of whole vectors, stride 1, 2 and 3, in batches; small planes, several to a unit and a rest.
    {8, 2, 16, 16, 13, 3, 3, 1, 1},
    {9, 3, 32, 31, 5, 3, 3, 2, 1},
    {8, 2, 19, 49, 4, 5, 4, 3, 2},
    {67, 32, 2, 2, 5, 3, 3, 1, 1},
    {37, 5, 4, 4, 3, 3, 3, 1, 1},
    {19, 32, 8, 8, 3, 3, 3, 2, 1},
    {9, 64, 7, 6, 3, 1, 1, 2, 0},
    // Borders wider than the kernel needs: of strides that step over rows, of an input gradient, of a first
    // layer.
    {9, 3, 7, 6, 5, 1, 1, 2, 1},
    {2, 5, 4, 6, 3, 1, 1, 1, 1},
    {2, 3, 6, 20, 4, 3, 3, 1, 0},
    // An input gradient of 75 rows, two blocks deep.
    {2, 3, 5, 7, 330, 5, 5, 1, 2},
};

template <class T>
void compare_with_oracle() {
  for (const Conv2dShape& s : shapes) {
    CAPTURE(std::to_string(s.in_channels) + "x" + std::to_string(s.height) + "x" + std::to_string(s.width));
    const Data<T> d(s);
    const Oracle want = oracle(s, d.x, d.weight, d.bias, d.dy);
    for_each_isa([&] {
      auto y = poisoned<T>(s.batch * output_size(s)), dx = poisoned<T>(s.batch * image_size(s));
      auto dweight = poisoned<T>(s.out_channels * s.depth()), dbias = poisoned<T>(s.out_channels);
      cpu::conv2d_forward(s, d.x.data(), d.weight.data(), d.bias.data(), false, y.data());
      cpu::conv2d_backward_input(s, d.weight.data(), {d.dy.data()}, dx.data());
      cpu::conv2d_backward_weight(s, d.x.data(), {d.dy.data()}, dweight.data(), dbias.data());
      CHECK(distance(y, want.y) <= tolerance<T>(s.depth()));
      CHECK(distance(dx, want.dx) <= tolerance<T>(s.out_channels * s.kernel_h * s.kernel_w));
      CHECK(distance(dweight, want.dweight) <= tolerance<T>(s.batch * s.out_pixels()));
      CHECK(distance(dbias, want.dbias) <= tolerance<T>(s.batch * s.out_pixels()));
    });
  }
}

TEST_CASE_TEMPLATE("convolution agrees with the loops of its definition in all directions", T, float,
                   double) {
  compare_with_oracle<T>();
}

template <class T>
void compare_fused_with_its_parts() {
  for (const Conv2dShape& s :
       {Conv2dShape{3, 3, 9, 11, 7, 3, 3, 1, 1}, Conv2dShape{9, 5, 28, 28, 6, 5, 5, 1, 2},
        Conv2dShape{2, 4, 33, 18, 3, 3, 3, 2, 1}, Conv2dShape{3, 2, 28, 30, 13, 3, 3, 1, 1}}) {
    const Data<T> d(s);
    auto y = poisoned<T>(s.batch * output_size(s)), pooled = poisoned<T>(s.batch * pooled_size(s));
    std::vector<uint8_t> argmax(pooled.size(), 99);
    cpu::conv2d_forward(s, d.x.data(), d.weight.data(), d.bias.data(), true, y.data());
    cpu::conv2d_relu_pool_forward(s, d.x.data(), d.weight.data(), d.bias.data(), pooled.data(),
                                  argmax.data());

    const auto dpooled = random_values<T>(static_cast<int64_t>(pooled.size()), 5);
    std::vector<T> want(pooled.size()), dy(y.size());
    const int64_t height = s.out_height() / 2, width = s.out_width() / 2;
    for (size_t i = 0; i < pooled.size(); ++i) {
      const int64_t at = static_cast<int64_t>(i), plane = at / (height * width);
      const int64_t row = at / width % height, column = at % width;
      size_t best = 0;
      for (int k = 3; k >= 0; --k) {  // backwards, so that of equal ones the first is kept
        const auto j = static_cast<size_t>(plane * s.out_pixels() + (2 * row + k / 2) * s.out_width() +
                                           2 * column + k % 2);
        if (k == 3 || y[j] >= y[best]) best = j;
      }
      want[i] = y[best];
      dy[best] = y[best] > 0 ? dpooled[i] : T{0};
    }
    CHECK(same_bits(pooled, want));

    auto dx = poisoned<T>(s.batch * image_size(s)), dx_plain = dx;
    auto dw = poisoned<T>(s.out_channels * s.depth()), dw_plain = dw;
    auto db = poisoned<T>(s.out_channels), db_plain = db;
    const cpu::Conv2dGradient<T> fused{dpooled.data(), pooled.data(), argmax.data()};
    cpu::conv2d_backward_input(s, d.weight.data(), fused, dx.data());
    cpu::conv2d_backward_weight(s, d.x.data(), fused, dw.data(), db.data());
    cpu::conv2d_backward_input(s, d.weight.data(), {dy.data()}, dx_plain.data());
    cpu::conv2d_backward_weight(s, d.x.data(), {dy.data()}, dw_plain.data(), db_plain.data());
    CHECK(same_bits(dx, dx_plain));
    CHECK(same_bits(dw, dw_plain));
    CHECK(same_bits(db, db_plain));

    std::vector<T> masked = d.dy;
    for (size_t i = 0; i < masked.size(); ++i) masked[i] = y[i] > 0 ? masked[i] : T{0};
    cpu::conv2d_backward_input(s, d.weight.data(), {d.dy.data(), y.data()}, dx.data());
    cpu::conv2d_backward_input(s, d.weight.data(), {masked.data()}, dx_plain.data());
    CHECK(same_bits(dx, dx_plain));
  }
}

TEST_CASE("convolution fused with relu and pooling has the bits of its parts") {
  for_each_isa([] {
    compare_fused_with_its_parts<float>();
    compare_fused_with_its_parts<double>();
  });
}

/// Layers whose gradients take the way of cpu/conv2d_pooled.h: one vector of channels and its edges, borders,
/// odd outputs, strides, several bands of windows, sums in chunks and in blocks.
const Conv2dShape pooled_shapes[] = {
    {1, 8, 10, 6, 1, 3, 3, 1, 0},   {3, 17, 9, 11, 7, 3, 3, 1, 1},   {9, 33, 12, 13, 3, 5, 5, 1, 2},
    {2, 9, 33, 18, 3, 3, 3, 2, 1},  {1, 16, 34, 129, 2, 3, 3, 1, 1}, {1, 12, 40, 129, 3, 5, 5, 1, 0},
    {33, 20, 9, 8, 17, 3, 3, 1, 0}, {5, 40, 8, 8, 33, 3, 3, 1, 1},   {0, 8, 8, 8, 4, 3, 3, 1, 1},
};

/// A gradient that arrives behind ReLU and pooling, in `copies`, and what it is in front of them.
template <class T>
struct PooledData {
  PooledData(const Conv2dShape& s, int64_t copies)
      : data(s),
        dpooled(random_values<T>(copies * s.batch * pooled_size(s), 5)),
        pooled(random_values<T>(s.batch * pooled_size(s), 6)),
        argmax(pooled.size()),
        dy(static_cast<size_t>(copies * s.batch * output_size(s))) {
    const auto draws = random_values<double>(static_cast<int64_t>(pooled.size()), 7);
    for (size_t i = 0; i < argmax.size(); ++i) argmax[i] = static_cast<uint8_t>(2 * (draws[i] + 1));
    const int64_t height = s.out_height() / 2, width = s.out_width() / 2;
    for (size_t i = 0; i < dpooled.size(); ++i) {
      const size_t image = i % pooled.size();
      const int64_t at = static_cast<int64_t>(i), row = at / width % height, column = at % width;
      if (pooled[image] > 0)
        dy[static_cast<size_t>(at / (height * width) * s.out_pixels() +
                               (2 * row + argmax[image] / 2) * s.out_width() + 2 * column +
                               argmax[image] % 2)] = dpooled[i];
    }
  }
  cpu::Conv2dGradient<T> gradient() const { return {dpooled.data(), pooled.data(), argmax.data()}; }

  Data<T> data;
  std::vector<T> dpooled, pooled;
  std::vector<uint8_t> argmax;
  std::vector<T> dy;
};

TEST_CASE_TEMPLATE("gradients through pooling agree with the loops of their definition", T, float, double) {
  for (const Conv2dShape& s : pooled_shapes) {
    CAPTURE(std::to_string(s.in_channels) + "x" + std::to_string(s.height) + "x" + std::to_string(s.width));
    REQUIRE(cpu::pooled_gradient_fits<T>(s));
    constexpr int64_t copies = 3;
    const PooledData<T> d(s, copies);
    Conv2dShape stack = s;  // every copy with images of its own: what one has is what the other has
    stack.batch *= copies;
    const Oracle of_stack = oracle(stack, Data<T>(stack).x, d.data.weight, d.data.bias, d.dy);
    const std::vector<T> first(d.dy.begin(), d.dy.begin() + s.batch * output_size(s));
    const Oracle want = oracle(s, d.data.x, d.data.weight, d.data.bias, first);
    for_each_isa([&] {
      auto dx = poisoned<T>(copies * s.batch * image_size(s));
      auto dweight = poisoned<T>(s.out_channels * s.depth()), dbias = poisoned<T>(s.out_channels);
      cpu::conv2d_backward_input(s, d.data.weight.data(), d.gradient(), dx.data(), copies);
      cpu::conv2d_backward_weight(s, d.data.x.data(), d.gradient(), dweight.data(), dbias.data());
      CHECK(distance(dx, of_stack.dx) <= tolerance<T>(s.out_channels * s.kernel_h * s.kernel_w));
      CHECK(distance(dweight, want.dweight) <= tolerance<T>(s.batch * s.out_pixels()));
      CHECK(distance(dbias, want.dbias) <= tolerance<T>(s.batch * s.out_pixels()));
      auto lone = poisoned<T>(s.out_channels * s.depth()), lone_bias = poisoned<T>(s.out_channels);
      cpu::conv2d_backward_weight<T>(s, d.data.x.data(), d.gradient(), lone.data(), nullptr);
      cpu::conv2d_backward_weight<T>(s, d.data.x.data(), d.gradient(), nullptr, lone_bias.data());
      CHECK(same_bits(lone, dweight));
      CHECK(same_bits(lone_bias, dbias));
    });
  }
}

TEST_CASE_TEMPLATE("a gradient through pooling has the same bits alone, in any batch, on any threads", T,
                   float, double) {
  for (const Conv2dShape& shape :
       {Conv2dShape{17, 33, 12, 11, 9, 3, 3, 1, 1}, Conv2dShape{17, 20, 12, 12, 5, 5, 5, 1, 0}})
    for_each_isa([&] {
      const PooledData<T> d(shape, 1);
      const auto run = [&](int64_t first, int64_t count) {
        Conv2dShape s = shape;
        s.batch = count;
        const int64_t at = first * pooled_size(s);
        auto dx = poisoned<T>(count * image_size(s));
        cpu::conv2d_backward_input<T>(s, d.data.weight.data(),
                                      {d.dpooled.data() + at, d.pooled.data() + at, d.argmax.data() + at},
                                      dx.data());
        return dx;
      };
      const std::vector<T> all = run(0, shape.batch);
      for (const int64_t count : {1, 7, 8, 13}) {
        const auto begin = all.begin() + 3 * image_size(shape);
        CHECK(same_bits(run(3, count), std::vector<T>(begin, begin + count * image_size(shape))));
      }
      check_threads([&] { return run(0, shape.batch); });
      check_threads([&] {
        auto dw = poisoned<T>(shape.out_channels * shape.depth() + shape.out_channels);
        cpu::conv2d_backward_weight(shape, d.data.x.data(), d.gradient(), dw.data(),
                                    dw.data() + shape.out_channels * shape.depth());
        return dw;
      });
    });
}

TEST_CASE_TEMPLATE(
    "a gradient through pooling has the same bits on all machines that multiply and add at once", T, float,
    double) {
  for (const Conv2dShape& s : pooled_shapes) {
    CAPTURE(s.width);
    const PooledData<T> d(s, 1);
    std::vector<std::vector<T>> results;
    for_each_isa([&] {
      if (cpu::isa() == cpu::Isa::plain) return;
      auto dx = poisoned<T>(s.batch * image_size(s)), dw = poisoned<T>(s.out_channels * s.depth());
      cpu::conv2d_backward_input(s, d.data.weight.data(), d.gradient(), dx.data());
      cpu::conv2d_backward_weight<T>(s, d.data.x.data(), d.gradient(), dw.data(), nullptr);
      dx.insert(dx.end(), dw.begin(), dw.end());
      results.push_back(std::move(dx));
    });
    for (const auto& other : results) CHECK(same_bits(other, results.front()));
  }
}

TEST_CASE_TEMPLATE("gradients through pooling are zero where no ReLU lets anything through", T, float,
                   double) {
  const Conv2dShape s{2, 8, 10, 10, 3, 3, 3, 1, 1};
  const PooledData<T> d(s, 1);
  const std::vector<T> dead(d.pooled.size(), T{0});
  const cpu::Conv2dGradient<T> gradient{d.dpooled.data(), dead.data(), d.argmax.data()};
  for_each_isa([&] {
    auto dx = poisoned<T>(s.batch * image_size(s)), dw = poisoned<T>(s.out_channels * s.depth()),
         db = poisoned<T>(s.out_channels);
    cpu::conv2d_backward_input(s, d.data.weight.data(), gradient, dx.data());
    cpu::conv2d_backward_weight(s, d.data.x.data(), gradient, dw.data(), db.data());
    for (const auto* zeros : {&dx, &dw, &db}) CHECK(same_bits(*zeros, std::vector<T>(zeros->size(), T{0})));
  });
}

/// The weight gradient of a batch, and the sum of those of its images, each on its own.
template <class T>
void compare_batch_with_its_images(const Conv2dShape& s, bool pooled, double allowed) {
  const PooledData<T> d(s, 1);
  const int64_t weights = s.out_channels * s.depth(), images = s.batch;
  const auto run = [&](int64_t first, int64_t count) {
    Conv2dShape some = s;
    some.batch = count;
    const int64_t at = first * pooled_size(s);
    const cpu::Conv2dGradient<T> gradient =
        pooled ? cpu::Conv2dGradient<T>{d.dpooled.data() + at, d.pooled.data() + at, d.argmax.data() + at}
               : cpu::Conv2dGradient<T>{d.data.dy.data() + first * output_size(s)};
    auto dweight = poisoned<T>(weights);
    cpu::conv2d_backward_weight<T>(some, d.data.x.data() + first * image_size(s), gradient, dweight.data(),
                                   nullptr);
    return dweight;
  };
  std::vector<double> sum(static_cast<size_t>(weights));
  for (int64_t n = 0; n < images; ++n) {
    const std::vector<T> one = run(n, 1);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<double>(one[i]);
  }
  CHECK(distance(run(0, images), sum) <= allowed);
}

TEST_CASE("a weight gradient that is prepared in several stripes is the sum over all images") {
  const double exact = tolerance<double>(33 * 1024), single = tolerance<float>(33 * 1024);
  compare_batch_with_its_images<double>({33, 3, 32, 32, 32, 3, 3, 1, 1}, false, exact);
  compare_batch_with_its_images<double>({33, 32, 34, 34, 16, 3, 3, 1, 0}, true, exact);
  for (const Math math : {Math::bf16, Math::split_bf16_x6}) {
    const MathScope scope(math);  // the products are the same ones, of the same roundings
    compare_batch_with_its_images<float>({33, 48, 32, 32, 48, 3, 3, 2, 1}, false, single);
    compare_batch_with_its_images<float>({8, 129, 48, 48, 160, 3, 3, 2, 1}, false, single);
    compare_batch_with_its_images<float>({5, 129, 32, 32, 160, 3, 3, 2, 1}, false, single);  // bf16: in one
  }
}

TEST_CASE_TEMPLATE("input gradients of first layers agree with the loops, with the same bits on all machines",
                   T, float, double) {
  // The least planes that cpu/few_channels_kernels.h takes, last bands and vectors that overlap, none that
  // do.
  constexpr int64_t planes[][2] = {{4, 16}, {5, 17}, {9, 31}, {8, 32}, {7, 50}};
  for (const auto& [height, width] : planes)
    for (const int64_t side : {3, 5})
      for (const int64_t channels : {1, 2, 3}) {
        const Conv2dShape s{2, channels, height, width, 7, side, side, 1, side / 2};
        CAPTURE(std::to_string(channels) + "x" + std::to_string(height) + "x" + std::to_string(width));
        CAPTURE(side);
        const Data<T> d(s);
        const Oracle want = oracle(s, d.x, d.weight, d.bias, d.dy);
        std::vector<std::vector<T>> results;
        for_each_isa([&] {
          auto dx = poisoned<T>(s.batch * image_size(s));
          cpu::conv2d_backward_input(s, d.weight.data(), {d.dy.data()}, dx.data());
          CHECK(distance(dx, want.dx) <= tolerance<T>(s.out_channels * side * side));
          if (cpu::isa() != cpu::Isa::plain) results.push_back(std::move(dx));
        });
        for (const auto& other : results) CHECK(same_bits(other, results.front()));
      }
}

TEST_CASE("convolution gives the same bits for any number of threads") {
  const Conv2dShape s{11, 3, 17, 15, 13, 3, 3, 1, 1};
  const Data<float> d(s);
  check_threads([&] {
    auto y = poisoned<float>(s.batch * output_size(s));
    cpu::conv2d_forward(s, d.x.data(), d.weight.data(), d.bias.data(), true, y.data());
    return y;
  });
  check_threads([&] {
    auto dx = poisoned<float>(s.batch * image_size(s));
    cpu::conv2d_backward_input(s, d.weight.data(), {d.dy.data()}, dx.data());
    return dx;
  });
  check_threads([&] {
    auto dw = poisoned<float>(s.out_channels * s.depth() + s.out_channels);
    cpu::conv2d_backward_weight(s, d.x.data(), {d.dy.data()}, dw.data(),
                                dw.data() + s.out_channels * s.depth());
    return dw;
  });
}

TEST_CASE_TEMPLATE("a convolution has the same bits however its batch is cut", T, float, double) {
  // Planes of 1024 outputs and more, of a few panels, of less than one; channels at the edges of a tile.
  for (const Conv2dShape& shape :
       {Conv2dShape{33, 1, 32, 32, 3, 3, 3, 1, 1}, Conv2dShape{33, 3, 12, 11, 17, 3, 3, 1, 1},
        Conv2dShape{33, 40, 4, 4, 25, 3, 3, 1, 1}, Conv2dShape{33, 5, 9, 9, 13, 3, 3, 2, 1},
        Conv2dShape{33, 33, 3, 2, 12, 1, 1, 1, 0}})
    for_each_isa([&] {
      CAPTURE(shape.out_channels);
      const Data<T> d(shape);
      const auto run = [&](int64_t first, int64_t count) {
        Conv2dShape s = shape;
        s.batch = count;
        auto y = poisoned<T>(count * output_size(s)), dx = poisoned<T>(count * image_size(s));
        cpu::conv2d_forward(s, d.x.data() + first * image_size(s), d.weight.data(), d.bias.data(), false,
                            y.data());
        cpu::conv2d_backward_input(s, d.weight.data(), {d.dy.data() + first * output_size(s)}, dx.data());
        y.insert(y.end(), dx.begin(), dx.end());
        return y;
      };
      const std::vector<T> all = run(0, shape.batch);
      const int64_t outputs = output_size(shape), inputs = image_size(shape), first = 5;
      const auto dx_of_all = all.begin() + shape.batch * outputs;
      for (const int64_t count : {1, 2, 7, 8, 17}) {
        std::vector<T> want(all.begin() + first * outputs, all.begin() + (first + count) * outputs);
        want.insert(want.end(), dx_of_all + first * inputs, dx_of_all + (first + count) * inputs);
        CHECK(same_bits(run(first, count), want));
      }
    });
}

TEST_CASE("an image's convolution does not depend on its batch mates") {
  for (const int64_t channels : {1, 9}) {
    const Conv2dShape all{10, channels, 19, 17, 11, 5, 5, 1, 2};
    Conv2dShape one = all;
    one.batch = 1;
    const Data<float> d(all);
    auto y = poisoned<float>(all.batch * output_size(all)), dx = poisoned<float>(all.batch * image_size(all));
    cpu::conv2d_forward(all, d.x.data(), d.weight.data(), d.bias.data(), false, y.data());
    cpu::conv2d_backward_input(all, d.weight.data(), {d.dy.data()}, dx.data());
    for (const int64_t n : {0, 7, 9}) {
      auto y_one = poisoned<float>(output_size(all)), dx_one = poisoned<float>(image_size(all));
      cpu::conv2d_forward(one, d.x.data() + n * image_size(all), d.weight.data(), d.bias.data(), false,
                          y_one.data());
      cpu::conv2d_backward_input(one, d.weight.data(), {d.dy.data() + n * output_size(all)}, dx_one.data());
      CHECK(std::memcmp(y_one.data(), y.data() + n * output_size(all), y_one.size() * sizeof(float)) == 0);
      CHECK(std::memcmp(dx_one.data(), dx.data() + n * image_size(all), dx_one.size() * sizeof(float)) == 0);
    }
  }
}

TEST_CASE("a convolution that cannot be is refused with its reason") {
  CHECK_THROWS_WITH_AS(cpu::check_conv2d({1, 3, 4, 4, 2, 5, 5, 1, 0}),
                       "conv2d: kernel 5 x 5 does not fit the image of 4 x 4 with padding 0", Error);
  CHECK_THROWS_AS(cpu::check_conv2d({1, 3, 4, 5, 2, 5, 5, 1, 0}), Error);
  CHECK_THROWS_AS(cpu::check_conv2d({1, 3, 5, 4, 2, 5, 5, 1, 0}), Error);
  for (const auto& [height, width] : {std::pair{3, 9}, {9, 3}})
    CHECK_THROWS_AS(cpu::conv2d_relu_pool_forward<float>({1, 1, height, width, 1, 3, 3, 1, 0}, nullptr,
                                                         nullptr, nullptr, nullptr, nullptr),
                    Error);
  CHECK_THROWS_AS(cpu::check_conv2d({1, 3, 4, 4, 2, 3, 3, 0, 0}), Error);
  CHECK_THROWS_AS(cpu::check_conv2d({1, 0, 4, 4, 2, 3, 3, 1, 0}), Error);
  CHECK_THROWS_AS(cpu::check_conv2d({-1, 1, 4, 4, 2, 3, 3, 1, 0}), Error);
}

}  // namespace
