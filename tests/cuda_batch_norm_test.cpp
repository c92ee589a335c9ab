#include "core/error.h"
#include "cuda/batch_norm.h"
#include "tests/cuda_testing.h"

using namespace hashgrad;
using namespace hashgrad::cuda_testing;
using cpu::BatchNormShape;

namespace {

// Rows of a fully connected layer, few pixels, odd ones, packs of four, and channels that are summed in
// several slices.
const BatchNormShape shapes[] = {{2, 1, 1},  {17, 3, 1}, {33, 129, 1}, {700, 3, 1},  {5, 33, 4},  {3, 17, 9},
                                 {2, 3, 49}, {3, 2, 64}, {2, 2, 129},  {3, 2, 3000}, {4, 1, 2052}};

/// Both sides sum in double and round a few times; x - mean cancels where a channel varies little.
template <class T>
constexpr double tolerance = 32 * epsilon<T>;

template <class T>
struct Data {
  Tensor x, dy, mean, variance, gamma, beta, added;
  explicit Data(const BatchNormShape& s)
      : x(values<T>({s.batch, s.channels * s.pixels}, 1)),
        dy(values<T>({s.batch, s.channels * s.pixels}, 2)),
        mean(values<T>({s.channels}, 3)),
        variance(values<T>({s.channels}, 4, 0.1, 2)),
        gamma(values<T>({s.channels}, 5)),
        beta(values<T>({s.channels}, 6)),
        added(values<T>({s.batch, s.channels * s.pixels}, 7)) {}
  Data(const Data& d, Device to)
      : x(d.x.to(to)),
        dy(d.dy.to(to)),
        mean(d.mean.to(to)),
        variance(d.variance.to(to)),
        gamma(d.gamma.to(to)),
        beta(d.beta.to(to)),
        added(d.added.to(to)) {}
};

template <class T>
const T* optional(const Tensor& t, bool wanted) {
  return wanted ? t.data<T>() : nullptr;
}

/// What follows the normalisation.
enum class Behind { nothing, relu, addition_and_relu };

/// dx, dgamma, dbeta and, of what was added, the gradient next to each other. `added` stands for the output.
template <class T>
void backward(Device d, const BatchNormShape& s, const Data<T>& on, bool training, bool affine, Behind behind,
              T* to) {
  const int64_t elements = s.batch * s.channels * s.pixels;
  const T *x = on.x.template data<T>(), *dy = on.dy.template data<T>(), *mean = on.mean.template data<T>(),
          *variance = on.variance.template data<T>(), *gamma = optional<T>(on.gamma, affine);
  const T eps = static_cast<T>(1e-5);
  cpu::BatchNormGradient<T> gradient{dy, behind != Behind::nothing};
  gradient.beta = optional<T>(on.beta, affine);
  if (behind == Behind::addition_and_relu) {
    gradient.output = on.added.template data<T>();
    gradient.passed = to + elements + 2 * s.channels;
  }
  if (training)
    HASHGRAD_ON(d, batch_norm_backward(s, x, gradient, mean, variance, eps, gamma, to, to + elements,
                                       to + elements + s.channels));
  else
    HASHGRAD_ON(d, batch_norm_inference_backward(s, x, gradient, mean, variance, eps, gamma, to,
                                                 to + elements, to + elements + s.channels));
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: statistics of a batch agree with the CPU's, and move the running ones alike", T,
                   float, double) {
  for (const Device device : other_devices())
    for (const BatchNormShape& s : shapes) {
      CAPTURE(s.batch);
      CAPTURE(s.pixels);
      const Data<T> here(s), there(here, device);
      const int64_t c = s.channels;
      CHECK(error_of<T>(device, 2 * c, [&](Device d, T* to) {
              const Data<T>& on = d == device ? there : here;
              HASHGRAD_ON(d, batch_norm_statistics(s, on.x.template data<T>(), to, to + c));
            }) <= tolerance<T>);
      CHECK(error_of<T>(device, 2 * c, [&](Device d, T* to) {
              const Data<T>& on = d == device ? there : here;
              HASHGRAD_ON(d, batch_norm_statistics(s, on.x.template data<T>(), to, to + c));
              HASHGRAD_ON(d, batch_norm_move_running(s, 0.1, on.mean.template data<T>(),
                                                     on.variance.template data<T>(), to, to + c, nullptr));
            }) <= tolerance<T>);
      Tensor batches = Tensor::full({}, 41, DType::int64, device),
             running = Tensor::zeros({2 * c}, dtype_of<T>, device);
      HASHGRAD_ON(device, batch_norm_move_running(s, 0.1, there.mean.template data<T>(),
                                                  there.variance.template data<T>(), running.data<T>(),
                                                  running.data<T>() + c, batches.data<int64_t>()));
      CHECK(batches.item() == 42);
    }
}

TEST_CASE_TEMPLATE("cuda: batch normalisation and its gradients agree with the CPU's", T, float, double) {
  for (const Device device : other_devices())
    for (const BatchNormShape& s : shapes)
      for (const bool affine : {false, true}) {
        CAPTURE(s.batch);
        CAPTURE(s.pixels);
        const Data<T> here(s), there(here, device);
        const int64_t elements = s.batch * s.channels * s.pixels, sums = 2 * s.channels;
        for (const bool fused : {false, true})
          CHECK(error_of<T>(device, elements, [&](Device d, T* y) {
                  const Data<T>& on = d == device ? there : here;
                  HASHGRAD_ON(d,
                              batch_norm_forward(s, on.x.template data<T>(), on.mean.template data<T>(),
                                                 on.variance.template data<T>(), static_cast<T>(1e-5),
                                                 optional<T>(on.gamma, affine), optional<T>(on.beta, affine),
                                                 optional<T>(on.added, fused), fused, y));
                }) <= tolerance<T>);
        for (const bool training : {false, true})
          for (const Behind behind : {Behind::nothing, Behind::relu, Behind::addition_and_relu}) {
            const auto call = [&](Device d, T* to) {
              backward(d, s, d == device ? there : here, training, affine, behind, to);
            };
            const int64_t passed = behind == Behind::addition_and_relu ? elements : 0;
            // Sums of up to 9000 terms of both signs are as small as one term: the error counts against
            // sqrt(9000).
            CHECK(error_of<T>(device, elements + sums + passed, call, 10) <= tolerance<T>);
          }
      }
}

TEST_CASE("cuda: gradients of batch normalisation that nobody wants are not written") {
  const BatchNormShape s{3, 2, 5};
  for (const Device device : other_devices()) {
    const Data<float> on(Data<float>(s), device);
    const float *x = on.x.data<float>(), *dy = on.dy.data<float>(), *mean = on.mean.data<float>(),
                *variance = on.variance.data<float>(), *none = nullptr;
    const auto all = output_of<float>(
        device, 34, [&](Device d, float* to) { backward(d, s, on, true, false, Behind::nothing, to); });
    const auto dx = output_of<float>(device, 30, [&](Device d, float* to) {
      HASHGRAD_ON(d,
                  batch_norm_backward<float>(s, x, {dy}, mean, variance, 1e-5f, none, to, nullptr, nullptr));
    });
    const auto dbeta = output_of<float>(device, 2, [&](Device d, float* to) {
      HASHGRAD_ON(d, batch_norm_inference_backward<float>(s, x, {dy}, mean, variance, 1e-5f, none, nullptr,
                                                          nullptr, to));
    });
    CHECK(same_bits(dx, {all.begin(), all.begin() + 30}));
    CHECK(same_bits(dbeta, {all.begin() + 32, all.end()}));
  }
}

TEST_CASE(
    "cuda: stacked cotangents share the output of batch normalisation and the gradient may take their "
    "place") {
  for (const BatchNormShape& s : {BatchNormShape{3, 2, 5}, {2, 3, 64}})
    for (const Device device : all_devices()) {
      const int64_t elements = s.batch * s.channels * s.pixels;
      const Data<float> on(Data<float>(s), device);
      const Tensor dy = values<float>({2 * elements}, 9).to(device);
      const float *mean = on.mean.data<float>(), *variance = on.variance.data<float>(),
                  *output = on.added.data<float>(), *none = nullptr;
      const auto gradients = [&](const float* from, float* dx, float* passed, int64_t copies) {
        const cpu::BatchNormGradient<float> g{from, true, output, nullptr, passed};
        HASHGRAD_ON(device, batch_norm_inference_backward<float>(s, nullptr, g, mean, variance, 1e-5f, none,
                                                                 dx, nullptr, nullptr, copies));
      };
      const auto one_by_one = output_of<float>(device, 4 * elements, [&](Device, float* to) {
        for (const int64_t k : {0, 1})
          gradients(dy.data<float>() + k * elements, to + k * elements, to + (2 + k) * elements, 1);
      });
      const auto at_once = output_of<float>(device, 4 * elements, [&](Device, float* to) {
        gradients(dy.data<float>(), to, to + 2 * elements, 2);
      });
      CHECK(same_bits(at_once, one_by_one));
      Tensor in_place = dy.clone(), dx = dy.clone();
      gradients(in_place.data<float>(), dx.data<float>(), in_place.data<float>(), 2);
      const auto passed = in_place.to_vector<float>();
      CHECK(same_bits(passed, {at_once.begin() + 2 * elements, at_once.end()}));
      gradients(dy.data<float>(), in_place.data<float>(), nullptr, 2);
      CHECK(same_bits(in_place.to_vector<float>(), {at_once.begin(), at_once.begin() + 2 * elements}));
    }
}

TEST_CASE("cuda: with constant statistics an image is normalised alone; a NaN stays in its place") {
  const int64_t channels = 3, pixels = 20;
  const BatchNormShape s{9, channels, pixels};
  for (const Device device : other_devices()) {
    Data<float> here(s);
    here.x.data<float>()[70] = NAN;
    const Data<float> on(here, device);
    const auto normalise = [&](Device d, int64_t batch, const float* x, float* y) {
      const BatchNormShape some{batch, channels, pixels};
      HASHGRAD_ON(
          d, batch_norm_forward<float>(some, x, on.mean.data<float>(), on.variance.data<float>(), 1e-5f,
                                       on.gamma.data<float>(), on.beta.data<float>(), nullptr, false, y));
    };
    CHECK(rows_stand_alone<float>(device, on.x, channels * pixels, normalise));
    const auto y = output_of<float>(device, 9 * channels * pixels,
                                    [&](Device d, float* to) { normalise(d, 9, on.x.data<float>(), to); });
    CHECK(std::count_if(y.begin(), y.end(), [](float v) { return std::isnan(v); }) == 1);
    CHECK(std::isnan(y[70]));
  }
}

TEST_CASE("cuda: statistics of nothing are refused") {
  for (const Device device : other_devices()) {
    float* nowhere = nullptr;
    const auto statistics = [&] {
      HASHGRAD_ON(device, batch_norm_statistics<float>({0, 3, 4}, nowhere, nowhere, nowhere));
    };
    CHECK_THROWS_AS(statistics(), Error);
  }
}
