#include "bench/cpu_roofline.h"

#include <fmt/ranges.h>
#include <memory>

#include "core/error.h"
#include "core/math_mode.h"
#include "cpu/batch_norm.h"
#include "cpu/conv2d.h"
#include "cpu/gemm.h"
#include "cpu/gemm_pairs.h"
#include "cpu/kept_panels.h"
#include "cpu/optim.h"
#include "cpu/pointwise.h"
#include "cpu/pool2d.h"
#include "cpu/winograd.h"

namespace hashgrad::bench {
namespace {

constexpr double word = sizeof(float);

using Kernels = std::vector<CpuKernel>;

/// What the engine computes together with a convolution.
enum class Behind { nothing, relu, relu_pool };

struct ConvolutionTensors {
  cpu::Conv2dShape shape;
  Behind behind;
  Tensor x, weight, bias, y, dy, dx, dweight, dbias;
  std::vector<uint8_t> argmax;
  std::unique_ptr<cpu::KeepPanels> kept;  // as while a network is asked

  ConvolutionTensors(const cpu::Conv2dShape& s, Behind b) : shape(s), behind(b) {
    const int64_t outputs = s.batch * s.out_channels * s.out_pixels() / (b == Behind::relu_pool ? 4 : 1);
    x = values(s.batch * s.in_channels * s.in_pixels());
    weight = values(s.out_channels * s.depth());
    kept = std::make_unique<cpu::KeepPanels>(std::vector<const void*>{weight.data<float>()});
    bias = values(s.out_channels);
    y = values(outputs);
    dy = values(outputs);
    dx = values(x.numel());
    dweight = values(weight.numel());
    dbias = values(bias.numel());
    if (b == Behind::relu_pool) argmax.resize(static_cast<size_t>(outputs));
    if (b != Behind::nothing) forward();  // what the gradient is seen through
  }

  void forward() {
    if (behind == Behind::relu_pool)
      cpu::conv2d_relu_pool_forward<float>(shape, x.data<float>(), weight.data<float>(), bias.data<float>(),
                                           y.data<float>(), argmax.data());
    else
      cpu::conv2d_forward<float>(shape, x.data<float>(), weight.data<float>(), bias.data<float>(),
                                 behind == Behind::relu, y.data<float>());
  }
  cpu::Conv2dGradient<float> gradient() const {
    return {dy.data<float>(), behind == Behind::nothing ? nullptr : y.data<float>(),
            behind == Behind::relu_pool ? argmax.data() : nullptr};
  }
  void backward_input() {
    cpu::conv2d_backward_input<float>(shape, weight.data<float>(), gradient(), dx.data<float>());
  }
  void backward_weight() {
    cpu::conv2d_backward_weight<float>(shape, x.data<float>(), gradient(), dweight.data<float>(),
                                       dbias.data<float>());
  }
};

/// The share of the direct way's products that a convolution of this shape takes, or its weight gradient.
double share_of_products(const cpu::Conv2dShape& s) {
  if (!cpu::winograd_fits(s, cpu::parts_of(math_mode()))) return 1;
  return s.kernel_h == 3 ? 16.0 / 36 : 49.0 / 100;
}
double share_of_weight_products(const cpu::Conv2dShape& s) {
  return cpu::winograd_weight_fits(s, cpu::parts_of(math_mode())) ? 16.0 / 36 : 1;
}

void add_convolution(Kernels& kernels, const cpu::Conv2dShape& s, Behind behind = Behind::nothing) {
  const char* const names[] = {"", " relu", " relu pool"};
  const std::string layer =
      fmt::format("conv {} -> {}, {}x{}{}, at {}x{}{}", s.in_channels, s.out_channels, s.kernel_h, s.kernel_w,
                  s.stride > 1 ? fmt::format(" stride {}", s.stride) : "", s.height, s.width,
                  names[static_cast<int>(behind)]);
  const auto outputs = static_cast<double>(s.batch * s.out_channels * s.out_pixels());
  const double x = word * static_cast<double>(s.batch * s.in_channels * s.in_pixels());
  const double weight = word * static_cast<double>(s.out_channels * s.depth());
  const double y = behind == Behind::relu_pool ? outputs / 4 * word : outputs * word;
  const double argmax = behind == Behind::relu_pool ? outputs / 4 : 0;
  const double gradient = y + argmax + (behind == Behind::nothing ? 0 : y);
  const double flops = 2 * outputs * static_cast<double>(s.depth());
  const double arriving = behind == Behind::relu_pool ? flops / 4 : flops;  // the rest would be with zeros
  const cpu::Conv2dShape of_gradient{s.batch,       s.out_channels, s.out_height(),
                                     s.out_width(), s.in_channels,  s.kernel_h,
                                     s.kernel_w,    s.stride,       s.kernel_h - 1 - s.padding};
  const bool pooled = behind == Behind::relu_pool;
  const double d_input = pooled ? arriving : flops * share_of_products(of_gradient);
  const double d_weight = pooled ? arriving : flops * share_of_weight_products(s);
  const auto add = [&](const char* kernel, double products, double bytes, void (ConvolutionTensors::*run)()) {
    kernels.push_back({layer, kernel, {.flops = products, .bytes = bytes}, [s, behind, run] {
                         const auto tensors = std::make_shared<ConvolutionTensors>(s, behind);
                         return [tensors, run] { ((*tensors).*run)(); };
                       }});
  };
  add("forward", flops * share_of_products(s), x + weight + y + argmax, &ConvolutionTensors::forward);
  add("d input", d_input, gradient + weight + x, &ConvolutionTensors::backward_input);
  add("d weight", d_weight, x + gradient + weight, &ConvolutionTensors::backward_weight);
}

/// y [batch, outputs] = x [batch, inputs] weight^T, and the two products of its gradient.
void add_linear(Kernels& kernels, int64_t batch, int64_t inputs, int64_t outputs) {
  const CpuWork work{
      .flops = 2.0 * static_cast<double>(batch * inputs * outputs),
      .bytes = word * static_cast<double>(batch * inputs + inputs * outputs + batch * outputs)};
  struct Tensors {
    Tensor x, weight, y;
  };
  using Product = std::function<void(float* x, float* weight, float* y)>;
  const auto add = [&](const char* kernel, const Product& product) {
    kernels.push_back({fmt::format("fc {} -> {}", inputs, outputs), kernel, work, [=] {
                         const auto t = std::make_shared<Tensors>(Tensors{
                             values(batch * inputs), values(inputs * outputs), values(batch * outputs)});
                         return [=] {
                           product(t->x.data<float>(), t->weight.data<float>(), t->y.data<float>());
                         };
                       }});
  };
  add("forward", [=](float* x, float* weight, float* y) {
    cpu::gemm<float>(false, true, batch, outputs, inputs, x, inputs, weight, inputs, y, outputs);
  });
  add("d input", [=](float* dx, float* weight, float* dy) {
    cpu::gemm<float>(false, false, batch, inputs, outputs, dy, outputs, weight, inputs, dx, inputs);
  });
  add("d weight", [=](float* x, float* dweight, float* dy) {
    cpu::gemm<float>(true, false, outputs, inputs, batch, dy, outputs, x, inputs, dweight, inputs);
  });
}

void add_hashed(Kernels& kernels, int64_t batch, int64_t divisor) {
  const int64_t inputs = hashed_inputs, outputs = hashed_outputs, buckets = inputs * outputs / divisor;
  const auto count = static_cast<double>(inputs * outputs);
  CpuWork forward{.flops = 2 * static_cast<double>(batch) * count,
                  .bytes = word * static_cast<double>(batch * inputs + buckets + batch * outputs),
                  .gathers = count,
                  .buckets = buckets};
  CpuWork backward = forward;
  std::swap(backward.gathers, backward.scatters);
  struct Tensors {
    cpu::HashedMatrix v;
    Tensor x, w, y;
  };
  using Product = std::function<void(const cpu::HashedMatrix& v, float* x, float* w, float* y)>;
  const auto add = [&](const char* kernel, const CpuWork& work, const Product& product) {
    kernels.push_back(
        {fmt::format("hashed {} -> {}, 1/{}", inputs, outputs, divisor), kernel, work, [=] {
           const auto t = std::make_shared<Tensors>(Tensors{hashed_matrix(buckets), values(batch * inputs),
                                                            values(buckets), values(batch * outputs)});
           return [=] { product(t->v, t->x.data<float>(), t->w.data<float>(), t->y.data<float>()); };
         }});
  };
  add("forward", forward, [=](const cpu::HashedMatrix& v, float* x, float* w, float* y) {
    cpu::hashed_linear<float>(v, w, batch, x, y);
  });
  add("d input", forward, [=](const cpu::HashedMatrix& v, float* dx, float* w, float* dy) {
    cpu::hashed_linear_input_gradient<float>(v, w, batch, dy, dx);
  });
  add("d buckets", backward, [=](const cpu::HashedMatrix& v, float* x, float* dw, float* dy) {
    cpu::hashed_linear_bucket_gradient<float>(v, batch, x, dy, dw);
  });
}

/// A pass over `tensors` tensors of n elements, of which it touches `touched` times n words.
void add_pass(Kernels& kernels, const std::string& layer, const char* kernel, int64_t n, double touched,
              const std::function<void(float* a, float* b, float* c)>& pass) {
  kernels.push_back({layer, kernel, {.bytes = touched * word * static_cast<double>(n)}, [=] {
                       struct Tensors {
                         Tensor a, b, c;
                       };
                       const auto t = std::make_shared<Tensors>(Tensors{values(n), values(n), values(n)});
                       return [=] { pass(t->a.data<float>(), t->b.data<float>(), t->c.data<float>()); };
                     }});
}

std::string on_maps(const char* what, int64_t channels, int64_t side) {
  return fmt::format("{}, {} maps of {}x{}", what, channels, side, side);
}

void add_relu(Kernels& kernels, int64_t batch, int64_t channels, int64_t side) {
  const int64_t n = batch * channels * side * side;
  const std::string layer = on_maps("relu", channels, side);
  add_pass(kernels, layer, "forward", n, 2,
           [n](float* x, float* y, float*) { cpu::unary<float>(cpu::Unary::relu, n, x, y); });
  add_pass(kernels, layer, "backward", n, 3, [n](float* y, float* dy, float* dx) {
    cpu::unary_backward<float>(cpu::Unary::relu, n, y, y, dy, dx);
  });
}

void add_sum(Kernels& kernels, int64_t batch, int64_t channels, int64_t side) {
  const int64_t n = batch * channels * side * side;
  add_pass(kernels, on_maps("residual sum", channels, side), "forward", n, 3,
           [n](float* a, float* b, float* y) { cpu::binary<float>(cpu::Binary::add, n, a, b, y); });
}

/// 2x2 max pooling on its own. The argmax, 4 bytes per output, lies in a vector that the two kernels share.
void add_pool(Kernels& kernels, int64_t batch, int64_t channels, int64_t side) {
  const cpu::Pool2dShape shape{batch * channels, side, side, 2, 2};
  const int64_t n = shape.planes * side * side;
  const auto argmax = std::make_shared<std::vector<int32_t>>();
  const auto forward = [=](float* x, float* y, float*) {
    argmax->resize(static_cast<size_t>(n / 4));
    cpu::max_pool2d_forward<float>(shape, x, y, argmax->data());
  };
  const std::string layer = on_maps("maxpool", channels, side);
  add_pass(kernels, layer, "forward", n, 1.5, forward);
  add_pass(kernels, layer, "backward", n, 1.5, [=](float* dy, float* dx, float* x) {
    if (argmax->empty()) forward(x, dx, nullptr);
    cpu::max_pool2d_backward<float>(shape, dy, argmax->data(), dx);
  });
}

void add_average(Kernels& kernels, int64_t batch, int64_t channels, int64_t side) {
  const int64_t planes = batch * channels, pixels = side * side;
  add_pass(kernels, on_maps("global average", channels, side), "forward", planes * pixels, 1,
           [=](float* x, float* y, float*) { cpu::global_avg_pool_forward<float>(planes, pixels, x, y); });
}

void add_batch_norm(Kernels& kernels, int64_t batch, int64_t channels, int64_t side) {
  const cpu::BatchNormShape shape{batch, channels, side * side};
  const int64_t n = batch * channels * side * side;
  const std::string layer = on_maps("batch norm", channels, side);
  struct Channels {
    Tensor mean, variance, gamma, beta, dgamma, dbeta;
  };
  const auto c = std::make_shared<Channels>(Channels{Tensor::zeros({channels}), Tensor::full({channels}, 1),
                                                     Tensor::full({channels}, 1), Tensor::zeros({channels}),
                                                     values(channels), values(channels)});
  add_pass(kernels, layer, "statistics", n, 1, [=](float* x, float*, float*) {
    cpu::batch_norm_statistics<float>(shape, x, c->mean.data<float>(), c->variance.data<float>());
  });
  add_pass(kernels, layer, "forward", n, 2, [=](float* x, float* y, float*) {
    cpu::batch_norm_forward<float>(shape, x, c->mean.data<float>(), c->variance.data<float>(), 1e-5f,
                                   c->gamma.data<float>(), c->beta.data<float>(), nullptr, false, y);
  });
  add_pass(kernels, layer, "backward", n, 3, [=](float* x, float* dy, float* dx) {
    cpu::batch_norm_backward<float>(shape, x, {dy}, c->mean.data<float>(), c->variance.data<float>(), 1e-5f,
                                    c->gamma.data<float>(), dx, c->dgamma.data<float>(),
                                    c->dbeta.data<float>());
  });
}

void add_sgd(Kernels& kernels, int64_t parameters) {
  add_pass(kernels, fmt::format("{} parameters", parameters), "SGD, momentum", parameters, 5,
           [parameters](float* weight, float* gradient, float* velocity) {
             const cpu::Pace pace{.lr = 1e-9};
             cpu::sgd_step<float>({.momentum = 0.9}, &pace,
                                  {{parameters, 1, 0, gradient, velocity, nullptr, weight}});
           });
}

// -------------------------------------------------------------------------------------------------- networks

Kernels a2(int64_t batch) {
  Kernels all;
  add_convolution(all, {batch, 1, 28, 28, 64, 5, 5, 1, 2}, Behind::relu_pool);
  add_convolution(all, {batch, 64, 14, 14, 128, 5, 5, 1, 2}, Behind::relu_pool);
  add_linear(all, batch, 6272, 512);
  add_linear(all, batch, 512, 10);
  add_sgd(all, 3423498);
  return all;
}

Kernels b2(int64_t batch) {
  Kernels all;
  add_convolution(all, {batch, 1, 28, 28, 64, 3, 3, 1, 1}, Behind::relu);
  add_convolution(all, {batch, 64, 28, 28, 128, 3, 3, 1, 1}, Behind::relu_pool);
  add_convolution(all, {batch, 128, 14, 14, 128, 3, 3, 1, 1}, Behind::relu);
  add_convolution(all, {batch, 128, 14, 14, 64, 3, 3, 1, 1}, Behind::relu_pool);
  add_linear(all, batch, 3136, 256);
  add_linear(all, batch, 256, 256);
  add_linear(all, batch, 256, 10);
  return all;
}

Kernels lenet5(int64_t batch) {
  Kernels all;
  add_convolution(all, {batch, 1, 28, 28, 20, 5, 5}, Behind::relu_pool);
  add_convolution(all, {batch, 20, 12, 12, 50, 5, 5}, Behind::relu_pool);
  add_linear(all, batch, 800, 500);
  add_linear(all, batch, 500, 10);
  return all;
}

Kernels vgg16(int64_t batch) {
  Kernels all;
  struct {
    int64_t in, out, side;
  } const layers[] = {{3, 64, 32},   {64, 64, 32},  {64, 128, 16}, {128, 128, 16}, {128, 256, 8},
                      {256, 256, 8}, {256, 512, 4}, {512, 512, 4}, {512, 512, 2}};
  for (const auto& [in, out, side] : layers) add_convolution(all, {batch, in, side, side, out, 3, 3, 1, 1});
  for (const auto& [channels, side] : {std::pair{64, 32}, {128, 16}, {512, 2}})
    add_batch_norm(all, batch, channels, side);
  add_relu(all, batch, 64, 32);
  add_pool(all, batch, 64, 32);
  add_linear(all, batch, 512, 512);
  add_linear(all, batch, 512, 10);
  return all;
}

Kernels resnet18(int64_t batch) {
  Kernels all;
  add_convolution(all, {batch, 3, 32, 32, 64, 3, 3, 1, 1});
  add_convolution(all, {batch, 64, 32, 32, 64, 3, 3, 1, 1});
  for (const auto& [in, side] : {std::pair{64, 32}, {128, 16}, {256, 8}}) {
    const int64_t out = 2 * in, half = side / 2;
    add_convolution(all, {batch, in, side, side, out, 3, 3, 2, 1});
    add_convolution(all, {batch, in, side, side, out, 1, 1, 2, 0});
    add_convolution(all, {batch, out, half, half, out, 3, 3, 1, 1});
  }
  add_batch_norm(all, batch, 64, 32);
  add_sum(all, batch, 64, 32);
  add_relu(all, batch, 64, 32);
  add_average(all, batch, 512, 4);
  add_linear(all, batch, 512, 10);
  return all;
}

Kernels hashed(int64_t batch) {
  Kernels all;
  for (const int64_t divisor : hashed_divisors) add_hashed(all, batch, divisor);
  return all;
}

struct Network {
  const char* name;
  Kernels (*kernels)(int64_t batch);
};
constexpr Network networks[] = {
    {"a2", a2}, {"b2", b2}, {"lenet5", lenet5}, {"vgg16", vgg16}, {"resnet18", resnet18}, {"hashed", hashed}};

}  // namespace

std::vector<std::string> cpu_networks() {
  std::vector<std::string> names;
  for (const Network& network : networks) names.emplace_back(network.name);
  return names;
}

std::vector<CpuKernel> cpu_kernels(const std::string& name, int64_t batch) {
  for (const Network& network : networks)
    if (network.name == name) return network.kernels(batch);
  fail("there are no kernels of '{}' (available: {})", name, fmt::join(cpu_networks(), ", "));
}

double seconds_of(const CpuKernel& kernel, CpuSize size) { return best_seconds(kernel.prepare(), size); }

}  // namespace hashgrad::bench
