#include "core/error.h"
#include "cuda/pool2d.h"
#include "tests/cuda_testing.h"

using namespace hashgrad;
using namespace hashgrad::cuda_testing;
using cpu::Pool2dShape;

namespace {

const Pool2dShape shapes[] = {{0, 4, 4, 2, 2},    {1, 1, 1, 1, 1},   {3, 17, 9, 2, 2},
                              {5, 7, 7, 3, 2, 1}, {2, 12, 33, 3, 3}, {2, 6, 5, 5, 1, 2},
                              {129, 4, 4, 2, 2},  {2, 9, 8, 2, 3},   {3, 33, 17, 4, 1, 2}};

int64_t in_size(const Pool2dShape& s) { return s.planes * s.height * s.width; }
int64_t out_size(const Pool2dShape& s) { return s.planes * s.out_height() * s.out_width(); }

/// Maxima, their places, and the gradient of `copies` cotangents.
template <class T>
struct MaxPool {
  std::vector<T> y, dx;
  std::vector<int32_t> argmax;
};
template <class T>
MaxPool<T> max_pool(Device d, const Pool2dShape& s, const Tensor& x, const Tensor& dy, int64_t copies) {
  const Tensor in = x.to(d), gradient = dy.to(d);
  Tensor places = Tensor::full({out_size(s)}, -1, DType::int64, d);  // as wide as two int32
  int32_t* argmax = reinterpret_cast<int32_t*>(places.data<int64_t>());
  MaxPool<T> result;
  result.y = output_of<T>(
      d, out_size(s), [&](Device, T* y) { HASHGRAD_ON(d, max_pool2d_forward(s, in.data<T>(), y, argmax)); });
  result.dx = output_of<T>(d, copies * in_size(s), [&](Device, T* dx) {
    HASHGRAD_ON(d, max_pool2d_backward(s, gradient.data<T>(), argmax, dx, copies));
  });
  const std::vector<int64_t> pairs = places.to_vector<int64_t>();
  result.argmax.resize(static_cast<size_t>(out_size(s)));
  if (!pairs.empty()) std::memcpy(result.argmax.data(), pairs.data(), result.argmax.size() * sizeof(int32_t));
  return result;
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: max pooling has the CPU's bits, ties, NaNs and infinities included", T, float,
                   double) {
  for (const Device device : other_devices())
    for (const Pool2dShape& s : shapes)
      for (const int kind : {0, 1}) {
        CAPTURE(s.height);
        CAPTURE(s.kernel);
        Tensor x = kind == 0 ? values<T>({in_size(s)}, 1) : awkward_values<T>({in_size(s)}, 1);
        for (int64_t i = 0; kind == 0 && i < x.numel(); ++i)
          x.data<T>()[i] = std::round(2 * x.data<T>()[i]);  // ties
        const int64_t copies = 2;
        const Tensor dy = values<T>({copies * out_size(s)}, 2);
        const MaxPool<T> there = max_pool<T>(device, s, x, dy, copies),
                         here = max_pool<T>(Device{}, s, x, dy, copies);
        CHECK(same_bits(there.y, here.y));
        CHECK(there.argmax == here.argmax);
        CHECK(same_bits(there.dx, here.dx));
      }
}

/// Both sides add up to 25 terms in the same order; the GPU rounds product and sum of the backward pass as
/// one.
TEST_CASE_TEMPLATE("cuda: average pooling agrees with the CPU's", T, float, double) {
  for (const Device device : other_devices())
    for (const Pool2dShape& s : shapes) {
      CAPTURE(s.height);
      CAPTURE(s.kernel);
      const Tensor x = values<T>({in_size(s)}, 1), dy = values<T>({out_size(s)}, 2);
      CHECK(error_of<T>(device, out_size(s), [&](Device d, T* y) {
              const Tensor in = x.to(d);
              HASHGRAD_ON(d, avg_pool2d_forward(s, in.data<T>(), y));
            }) <= 16 * epsilon<T>);
      CHECK(error_of<T>(device, in_size(s), [&](Device d, T* dx) {
              const Tensor gradient = dy.to(d);
              HASHGRAD_ON(d, avg_pool2d_backward(s, gradient.data<T>(), dx));
            }) <= 16 * epsilon<T>);
    }
}

TEST_CASE_TEMPLATE("cuda: global average pooling agrees with the CPU's, plane by plane", T, float, double) {
  for (const Device device : other_devices())
    for (const int64_t planes : {0, 1, 3, 17, 129})
      for (const int64_t pixels : {1, 33, 129}) {
        const Tensor x = values<T>({planes, pixels}, 1), dy = values<T>({planes}, 2);
        CAPTURE(planes);
        CAPTURE(pixels);
        // The CPU adds up to 129 terms in T.
        CHECK(error_of<T>(device, planes, [&](Device d, T* y) {
                const Tensor in = x.to(d);
                HASHGRAD_ON(d, global_avg_pool_forward(planes, pixels, in.data<T>(), y));
              }) <= 32 * epsilon<T>);
        CHECK(error_of<T>(device, planes * pixels, [&](Device d, T* dx) {
                const Tensor gradient = dy.to(d);
                HASHGRAD_ON(d, global_avg_pool_backward(planes, pixels, gradient.data<T>(), dx));
              }) <= epsilon<T>);
        if (planes > 0 && planes < 100)
          CHECK(rows_stand_alone<T>(device, x, 1, [&](Device d, int64_t some, const T* in, T* y) {
            HASHGRAD_ON(d, global_avg_pool_forward(some, pixels, in, y));
          }));
      }
}

TEST_CASE("cuda: average pooling lets a NaN into its window alone") {
  for (const Device device : other_devices()) {
    const Tensor x = Tensor::of<float>({1, NAN, 3, 4}, {4});
    const auto y = output_of<float>(device, 2, [&](Device d, float* to) {
      const Tensor in = x.to(d);
      HASHGRAD_ON(d, avg_pool2d_forward<float>({2, 1, 2, 1, 2}, in.data<float>(), to));
    });
    CHECK(y[0] == 1);
    CHECK(y[1] == 3);
    const auto mean = output_of<float>(device, 2, [&](Device d, float* to) {
      const Tensor in = x.to(d);
      HASHGRAD_ON(d, global_avg_pool_forward<float>(2, 2, in.data<float>(), to));
    });
    CHECK(std::isnan(mean[0]));
    CHECK(mean[1] == 3.5f);
  }
}

TEST_CASE("cuda: a pool that cannot be is refused") {
  const float* none = nullptr;
  float* nowhere = nullptr;
  for (const Device device : other_devices()) {
    const auto pool = [&](const Pool2dShape& s) {
      HASHGRAD_ON(device, avg_pool2d_forward(s, none, nowhere));
    };
    CHECK_THROWS_AS(pool({1, 2, 2, 3, 1}), Error);
    CHECK_THROWS_AS(pool({1, 4, 4, 2, 0}), Error);
  }
}
