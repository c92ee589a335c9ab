#include <string>

#include "core/error.h"
#include "core/math_mode.h"
#include "cuda/conv2d.h"
#include "tests/cpu_testing.h"
#include "tests/cuda_testing.h"

using namespace hashgrad;
using namespace hashgrad::cuda_testing;
using cpu::Conv2dShape;

namespace {

/// Both sides round each of n additions of terms up to 4 in magnitude, in different orders.
template <class T>
double tolerance(int64_t n) {
  return 2 * epsilon<T> * (8 + static_cast<double>(n));
}

int64_t image_size(const Conv2dShape& s) { return s.in_channels * s.in_pixels(); }
int64_t output_size(const Conv2dShape& s) { return s.out_channels * s.out_pixels(); }
int64_t pooled_size(const Conv2dShape& s) {
  return s.out_channels * (s.out_height() / 2) * (s.out_width() / 2);
}
bool poolable(const Conv2dShape& s) { return s.out_height() >= 2 && s.out_width() >= 2; }

std::string name(const Conv2dShape& s) {
  std::string text;
  for (const int64_t n : {s.batch, s.in_channels, s.height, s.width, s.out_channels, s.kernel_h, s.kernel_w,
                          s.stride, s.padding})
    text += std::to_string(n) + " ";
  return text;
}

/// The operands of one convolution on one device.
template <class T>
struct Data {
  Tensor x, weight, bias, dy;
  Data(const Conv2dShape& s, int64_t copies = 1)
      : x(values<T>({s.batch * image_size(s)}, 1)),
        weight(values<T>({s.out_channels * s.depth()}, 2)),
        bias(values<T>({s.out_channels}, 3)),
        dy(values<T>({copies * s.batch * output_size(s)}, 4)) {}
  Data(const Data& d, Device to)
      : x(d.x.to(to)), weight(d.weight.to(to)), bias(d.bias.to(to)), dy(d.dy.to(to)) {}
};

const Conv2dShape shapes[] = {
    {1, 1, 1, 1, 1, 1, 1},         {2, 1, 5, 5, 3, 3, 3, 1, 1},    {1, 1, 28, 28, 17, 5, 5, 1, 2},
    {9, 3, 9, 13, 7, 3, 3, 1, 1},  {2, 5, 33, 17, 13, 3, 5, 1, 2}, {3, 17, 14, 14, 33, 3, 3, 1, 1},
    {2, 4, 11, 11, 6, 3, 3, 2, 1}, {2, 2, 12, 9, 5, 4, 2, 3, 0},   {1, 33, 7, 7, 12, 1, 1, 1, 0},
    {2, 6, 4, 4, 5, 3, 3, 1, 3},   {1, 5, 3, 3, 4, 3, 3, 1, 0},    {2, 6, 9, 8, 5, 1, 1, 2, 0},
    {0, 3, 8, 8, 4, 3, 3, 1, 1},   {17, 1, 6, 6, 2, 3, 3, 1, 1},   {1, 129, 5, 5, 3, 2, 2, 2, 1},
};

// Enough pixels for the tiles of 128 x 128, 64 x 64, 32 x 128 and 16 x 128, forward and, the other way round,
// backward.
const Conv2dShape tiles_forward[] = {{4, 1, 64, 66, 70, 3, 3, 1, 1},
                                     {2, 1, 64, 65, 40, 3, 3, 1, 1},
                                     {4, 1, 64, 66, 20, 3, 3, 1, 1},
                                     {4, 2, 64, 65, 9, 3, 3, 1, 1}};
const Conv2dShape tiles_backward[] = {{4, 70, 64, 66, 1, 3, 3, 1, 1},
                                      {2, 40, 64, 65, 1, 3, 3, 1, 1},
                                      {4, 20, 64, 66, 1, 3, 3, 1, 1},
                                      {4, 9, 64, 65, 2, 3, 3, 1, 1}};

template <class T>
double forward_error(Device device, const Conv2dShape& s) {
  const Data<T> here(s), there(here, device);
  return error_of<T>(device, s.batch * output_size(s), [&](Device d, T* y) {
    const Data<T>& on = d == device ? there : here;
    HASHGRAD_ON(d, conv2d_forward(s, on.x.template data<T>(), on.weight.template data<T>(),
                                  on.bias.template data<T>(), false, y));
  });
}

template <class T>
double input_gradient_error(Device device, const Conv2dShape& s) {
  const Data<T> here(s), there(here, device);
  return error_of<T>(device, s.batch * image_size(s), [&](Device d, T* dx) {
    const Data<T>& on = d == device ? there : here;
    const cpu::Conv2dGradient<T> gradient{on.dy.template data<T>()};
    HASHGRAD_ON(d, conv2d_backward_input(s, on.weight.template data<T>(), gradient, dx));
  });
}

/// Of dweight and dbias, next to each other.
template <class T>
double weight_gradient_error(Device device, const Conv2dShape& s) {
  const Data<T> here(s), there(here, device);
  const int64_t weights = s.out_channels * s.depth();
  return error_of<T>(device, weights + s.out_channels, [&](Device d, T* dw) {
    const Data<T>& on = d == device ? there : here;
    const cpu::Conv2dGradient<T> gradient{on.dy.template data<T>()};
    HASHGRAD_ON(d, conv2d_backward_weight(s, on.x.template data<T>(), gradient, dw, dw + weights));
  });
}

/// What one engine makes of a fused convolution and its gradients.
template <class T>
struct Fused {
  std::vector<T> output, dx, dw, db;
  std::vector<uint8_t> argmax;
};
template <class T>
Fused<T> fused(Device d, const Conv2dShape& s, bool pool) {
  const Data<T> on(Data<T>(s), d);
  const T *x = on.x.template data<T>(), *weight = on.weight.template data<T>(),
          *bias = on.bias.template data<T>();
  const int64_t outputs = s.batch * (pool ? pooled_size(s) : output_size(s));
  const auto poisoned = [&](int64_t n) { return Tensor::full({n}, NAN, dtype_of<T>, d); };
  Tensor output = poisoned(outputs), argmax = Tensor::full({outputs}, 99, DType::uint8, d);
  if (pool)
    HASHGRAD_ON(d, conv2d_relu_pool_forward(s, x, weight, bias, output.data<T>(), argmax.data<uint8_t>()));
  else
    HASHGRAD_ON(d, conv2d_forward(s, x, weight, bias, true, output.data<T>()));
  const cpu::Conv2dGradient<T> gradient{on.dy.template data<T>(), output.data<T>(),
                                        pool ? argmax.data<uint8_t>() : nullptr};
  Tensor dx = poisoned(s.batch * image_size(s)), dw = poisoned(s.out_channels * s.depth()),
         db = poisoned(s.out_channels);
  HASHGRAD_ON(d, conv2d_backward_input(s, weight, gradient, dx.data<T>()));
  HASHGRAD_ON(d, conv2d_backward_weight(s, x, gradient, dw.data<T>(), db.data<T>()));
  return {output.to_vector<T>(), dx.to_vector<T>(), dw.to_vector<T>(), db.to_vector<T>(),
          argmax.to_vector<uint8_t>()};
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: convolution agrees with the CPU's in all directions", T, float, double) {
  for (const Device device : other_devices())
    for (const Conv2dShape& s : shapes) {
      CAPTURE(name(s));
      CHECK(forward_error<T>(device, s) <= tolerance<T>(s.depth()));
      CHECK(input_gradient_error<T>(device, s) <= tolerance<T>(s.out_channels * s.kernel_h * s.kernel_w));
      CHECK(weight_gradient_error<T>(device, s) <= tolerance<T>(s.batch * s.out_pixels()));
    }
}

TEST_CASE("cuda: convolution agrees with the CPU's on every tile") {
  for (const Device device : other_devices()) {
    for (const Conv2dShape& s : tiles_forward)
      CHECK(forward_error<float>(device, s) <= tolerance<float>(s.depth()));
    for (const Conv2dShape& s : tiles_backward)
      CHECK(input_gradient_error<float>(device, s) <= tolerance<float>(9 * s.out_channels));
    CHECK(weight_gradient_error<float>(device, tiles_forward[1]) <= tolerance<float>(8320));
    CHECK(forward_error<double>(device, tiles_forward[1]) <= tolerance<double>(9));
  }
}

TEST_CASE("cuda: convolution in bf16 agrees with the CPU's in all directions, fused or not") {
  const MathScope bf16(Math::bf16);
  // The CPU rounds all operands, unless AVX-512 has products of pairs, where some gradients stay in floats.
  const bool some_floats = cpu::isa() == cpu::Isa::avx512bf16;
  const cpu_testing::IsaScope all_rounded(some_floats ? cpu::Isa::avx512 : cpu::isa());
  for (const Device device : other_devices()) {
    // The tile of 128 x 128.
    CHECK(forward_error<float>(device, tiles_forward[0]) <= tolerance<float>(9));
    CHECK(input_gradient_error<float>(device, tiles_backward[0]) <= tolerance<float>(9));
    for (const Conv2dShape& s : shapes) {
      CAPTURE(name(s));
      CHECK(forward_error<float>(device, s) <= tolerance<float>(s.depth()));
      CHECK(input_gradient_error<float>(device, s) <=
            tolerance<float>(s.out_channels * s.kernel_h * s.kernel_w));
      CHECK(weight_gradient_error<float>(device, s) <= tolerance<float>(s.batch * s.out_pixels()));
      if (!poolable(s)) continue;
      const Fused<float> here = fused<float>(Device{}, s, true), there = fused<float>(device, s, true);
      CHECK(relative_error(there.output, here.output, 1) <= tolerance<float>(s.depth()));
    }
  }
}

TEST_CASE_TEMPLATE("cuda: convolution fused with relu and pooling agrees with the CPU's", T, float, double) {
  for (const Device device : other_devices())
    for (const Conv2dShape& s : shapes)
      for (const bool pool : {false, true}) {
        if (pool && !poolable(s)) continue;
        CAPTURE(name(s));
        const Fused<T> there = fused<T>(device, s, pool), here = fused<T>(Device{}, s, pool);
        CHECK(relative_error(there.output, here.output, 1) <= tolerance<T>(s.depth()));
        CHECK(there.argmax == here.argmax);  // no two values of a window are within rounding of each other
        CHECK(relative_error(there.dx, here.dx, 1) <= tolerance<T>(s.out_channels * s.kernel_h * s.kernel_w));
        CHECK(relative_error(there.dw, here.dw, 1) <= tolerance<T>(s.batch * s.out_pixels()));
        CHECK(relative_error(there.db, here.db, 1) <= tolerance<T>(s.batch * s.out_pixels()));
      }
}

TEST_CASE("cuda: convolution fused with pooling has the bits of its parts") {
  const Conv2dShape s{3, 3, 11, 10, 7, 3, 3, 1, 1};
  for (const Device device : other_devices()) {
    const Fused<float> plain = fused<float>(device, s, false), pooled = fused<float>(device, s, true);
    const int64_t height = s.out_height() / 2, width = s.out_width() / 2;
    std::vector<float> chosen;
    for (int64_t i = 0; i < s.batch * s.out_channels * height * width; ++i) {
      const int64_t plane = i / (height * width), row = i / width % height, column = i % width;
      const int64_t place = pooled.argmax[static_cast<size_t>(i)];
      chosen.push_back(plain.output[static_cast<size_t>(
          plane * s.out_pixels() + (2 * row + place / 2) * s.out_width() + 2 * column + place % 2)]);
    }
    CHECK(same_bits(chosen, pooled.output));
  }
}

TEST_CASE("cuda: an image's convolution does not depend on its batch mates") {
  for (const Device device : other_devices())
    for (const auto& [channels, stride] : {std::pair<int64_t, int64_t>{1, 1}, {9, 1}, {5, 2}}) {
      const Conv2dShape all{18, channels, 31, 29, 11, 3, 3, stride, 1};
      Conv2dShape one = all;
      one.batch = 1;
      const Data<float> d(Data<float>(all), device);
      const auto convolve = [&](const Conv2dShape& s, int64_t first) {
        return output_of<float>(device, s.batch * output_size(s), [&](Device on, float* y) {
          HASHGRAD_ON(on, conv2d_forward(s, d.x.data<float>() + first * image_size(s), d.weight.data<float>(),
                                         d.bias.data<float>(), false, y));
        });
      };
      const auto gradient = [&](const Conv2dShape& s, int64_t first) {
        return output_of<float>(device, s.batch * image_size(s), [&](Device on, float* dx) {
          const cpu::Conv2dGradient<float> g{d.dy.data<float>() + first * output_size(s)};
          HASHGRAD_ON(on, conv2d_backward_input(s, d.weight.data<float>(), g, dx));
        });
      };
      const auto y = convolve(all, 0), dx = gradient(all, 0);
      for (const int64_t n : {0, 7, 17}) {
        CHECK(std::memcmp(convolve(one, n).data(), &y[static_cast<size_t>(n * output_size(all))],
                          static_cast<size_t>(output_size(all)) * sizeof(float)) == 0);
        CHECK(std::memcmp(gradient(one, n).data(), &dx[static_cast<size_t>(n * image_size(all))],
                          static_cast<size_t>(image_size(all)) * sizeof(float)) == 0);
      }
    }
}

TEST_CASE("cuda: stacked cotangents of a convolution are that many gradients") {
  const int64_t copies = 3;
  const Conv2dShape s{2, 3, 8, 7, 5, 3, 3, 1, 1};
  for (Device device : other_devices())
    for (const Device d : {device, Device{}}) {
      const Data<float> data(Data<float>(s, copies), d);
      Tensor pooled = Tensor::empty({s.batch * pooled_size(s)}, DType::float32, d);
      Tensor argmax = Tensor::empty(pooled.shape(), DType::uint8, d);
      HASHGRAD_ON(
          d, conv2d_relu_pool_forward(s, data.x.data<float>(), data.weight.data<float>(),
                                      data.bias.data<float>(), pooled.data<float>(), argmax.data<uint8_t>()));
      cpu::Conv2dGradient<float> g{data.dy.data<float>(), pooled.data<float>(), argmax.data<uint8_t>()};
      const int64_t size = s.batch * image_size(s);
      const auto all = output_of<float>(d, copies * size, [&](Device on, float* dx) {
        HASHGRAD_ON(on, conv2d_backward_input(s, data.weight.data<float>(), g, dx, copies));
      });
      for (int64_t copy = 0; copy < copies; ++copy, g.dy += s.batch * pooled_size(s)) {
        const auto one = output_of<float>(d, size, [&](Device on, float* dx) {
          HASHGRAD_ON(on, conv2d_backward_input(s, data.weight.data<float>(), g, dx));
        });
        CHECK(same_bits(one, {all.begin() + copy * size, all.begin() + (copy + 1) * size}));
      }
    }
}

TEST_CASE("cuda: a NaN reaches the outputs that see it, and no padding makes one of an infinity") {
  const Conv2dShape s{1, 1, 6, 6, 1, 3, 3, 1, 1};
  for (const Device device : other_devices())
    for (const bool pool : {false, true}) {
      Tensor x = values<float>({36}, 1, 0, 1), weight = Tensor::full({9}, 1);
      x.data<float>()[7] = NAN;        // row 1, column 1
      x.data<float>()[35] = INFINITY;  // the last corner
      const int64_t outputs = pool ? 9 : 36;
      const auto convolve = [&](Device d, float* y) {
        const Tensor image = x.to(d), w = weight.to(d);
        const float* none = nullptr;
        if (pool)
          HASHGRAD_ON(d, conv2d_relu_pool_forward(s, image.data<float>(), w.data<float>(), none, y, nullptr));
        else
          HASHGRAD_ON(d, conv2d_forward(s, image.data<float>(), w.data<float>(), none, true, y));
      };
      const auto there = output_of<float>(device, outputs, convolve);
      CHECK(relative_error(there, output_of<float>(Device{}, outputs, convolve), 1) <= tolerance<float>(9));
      CHECK(std::isnan(there[0]));
      CHECK(there.back() == INFINITY);
    }
}

TEST_CASE("cuda: an empty batch has weight gradients of zero") {
  const Conv2dShape s{0, 3, 5, 5, 4, 3, 3, 1, 1};
  for (const Device device : other_devices()) {
    const auto dw = output_of<float>(device, 4 * 27 + 4, [&](Device d, float* to) {
      const float* none = nullptr;
      const cpu::Conv2dGradient<float> gradient{none};
      HASHGRAD_ON(d, conv2d_backward_weight(s, none, gradient, to, to + 4 * 27));
    });
    CHECK(std::all_of(dw.begin(), dw.end(), [](float v) { return v == 0; }));
  }
}

TEST_CASE("cuda: a convolution that cannot be is refused") {
  const float* none = nullptr;
  float* nowhere = nullptr;
  for (const Device device : other_devices()) {
    const auto convolve = [&](const Conv2dShape& s, bool pool) {
      if (pool)
        HASHGRAD_ON(device, conv2d_relu_pool_forward(s, none, none, none, nowhere, nullptr));
      else
        HASHGRAD_ON(device, conv2d_forward(s, none, none, none, false, nowhere));
    };
    CHECK_THROWS_AS(convolve({1, 3, 4, 4, 2, 5, 5, 1, 0}, false), Error);
    CHECK_THROWS_AS(convolve({1, 3, 5, 5, 2, 5, 5, 1, 0}, true), Error);                 // nothing to pool
    CHECK_THROWS_AS(convolve({1, 3, 40000, 40000, 2, 5, 5, 1, 0}, false), Error);        // beyond 32 bits
    CHECK_THROWS_AS(convolve({1, 1, 1, 512, 1, 1 << 22, 1, 1, 1 << 21}, false), Error);  // a window that is
  }
}
