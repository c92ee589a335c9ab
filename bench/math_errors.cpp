// How exact each arithmetic of the CPU engine is (core/math_mode.h): on every layer shape of every named
// network, the largest error of a product's elements relative to the largest element, against float64, on two
// images. Usage: bench_math_errors > experiments/results/math_errors.md
#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <map>
#include <string>
#include <vector>

#include "core/math_mode.h"
#include "core/random.h"
#include "cpu/conv2d.h"
#include "cpu/gemm.h"
#include "cpu/kernels.h"
#include "nn/models/zoo.h"

namespace hashgrad {
namespace {

constexpr int64_t images = 2;
constexpr Math maths[] = {Math::fp32, Math::split_bf16_x6, Math::split_bf16, Math::bf16};

std::vector<float> normals(int64_t n, uint64_t sample) {
  Random random(1, Stream::test, sample);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = static_cast<float>(random.normal());
  return values;
}

/// Of the forward pass, the input gradient and the weight gradient.
template <class T>
using Results = std::array<std::vector<T>, 3>;

/// x [images, in], weight [out, in], dy [images, out].
struct Linear {
  int64_t in, out;

  template <class T>
  Results<T> compute(const std::vector<T>& x, const std::vector<T>& w, const std::vector<T>& dy) const {
    Results<T> r{std::vector<T>(dy.size()), std::vector<T>(x.size()), std::vector<T>(w.size())};
    cpu::gemm<T>(false, true, images, out, in, x.data(), in, w.data(), in, r[0].data(), out);
    cpu::gemm<T>(false, false, images, in, out, dy.data(), out, w.data(), in, r[1].data(), in);
    cpu::gemm<T>(true, false, out, in, images, dy.data(), out, x.data(), in, r[2].data(), in);
    return r;
  }
  std::array<int64_t, 3> sizes() const { return {images * in, out * in, images * out}; }
};

struct Convolution {
  cpu::Conv2dShape s;

  template <class T>
  Results<T> compute(const std::vector<T>& x, const std::vector<T>& w, const std::vector<T>& dy) const {
    Results<T> r{std::vector<T>(dy.size()), std::vector<T>(x.size()), std::vector<T>(w.size())};
    cpu::conv2d_forward<T>(s, x.data(), w.data(), nullptr, false, r[0].data());
    cpu::conv2d_backward_input<T>(s, w.data(), {dy.data()}, r[1].data());
    cpu::conv2d_backward_weight<T>(s, x.data(), {dy.data()}, r[2].data(), nullptr);
    return r;
  }
  std::array<int64_t, 3> sizes() const {
    return {images * s.in_channels * s.in_pixels(), s.out_channels * s.depth(),
            images * s.out_channels * s.out_pixels()};
  }
};

double relative_error(const std::vector<float>& got, const std::vector<double>& want) {
  double error = 0, largest = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    error = std::max(error, std::abs(static_cast<double>(got[i]) - want[i]));
    largest = std::max(largest, std::abs(want[i]));
  }
  return error / largest;
}

/// The largest of the three errors, per arithmetic.
using Errors = std::array<double, std::size(maths)>;

template <class Layer>
Errors errors_of(const Layer& layer) {
  const auto [x_size, w_size, y_size] = layer.sizes();
  const auto x = normals(x_size, 1), w = normals(w_size, 2), dy = normals(y_size, 3);
  const auto doubles = [](const std::vector<float>& v) { return std::vector<double>(v.begin(), v.end()); };
  const Results<double> want = layer.template compute<double>(doubles(x), doubles(w), doubles(dy));
  Errors errors{};
  for (size_t m = 0; m < std::size(maths); ++m) {
    const MathScope scope(maths[m]);
    const Results<float> got = layer.template compute<float>(x, w, dy);
    for (size_t i = 0; i < 3; ++i) errors[m] = std::max(errors[m], relative_error(got[i], want[i]));
  }
  return errors;
}

/// Every shape once, with its errors.
using Table = std::map<std::string, Errors>;

/// Adds the layer to a network's table, measured unless another network has that shape, too.
template <class Layer>
void add_shape(const std::string& name, const Layer& layer, Table& measured, Table& network) {
  if (!measured.contains(name)) measured[name] = errors_of(layer);
  network[name] = measured[name];
}

void add_layer(const LayerSpec& layer, const Shape& in, const Shape& out, Table& measured, Table& network) {
  if (layer.kind == LayerSpec::Kind::fc) {
    const Linear linear{in.numel(), out.numel()};
    add_shape(fmt::format("fc {} -> {}", linear.in, linear.out), linear, measured, network);
  } else if (layer.kind == LayerSpec::Kind::conv) {
    // Images are padded beforehand where the two directions differ, as a network does it (nn/conv.h).
    const Extent &kernel = layer.kernel, &padding = layer.padding;
    const Extent before = padding.square() ? Extent(0) : padding;
    const Convolution c{{images, in[0], in[1] + 2 * before.height, in[2] + 2 * before.width, out[0],
                         kernel.height, kernel.width, layer.stride, padding.square() ? padding.height : 0}};
    const std::string name =
        fmt::format("conv {} -> {}, {} x {}, stride {}, padding {} x {}, at {} x {}", in[0], out[0],
                    kernel.height, kernel.width, layer.stride, padding.height, padding.width, in[1], in[2]);
    add_shape(name, c, measured, network);
  }
}

void print(const std::map<std::string, Table>& networks) {
  fmt::print("`bench_math_errors > experiments/results/math_errors.md`, {} kernels\n\n",
             cpu::isa_name(cpu::isa()));
  fmt::print(
      "Largest error of an element relative to the largest element, of forward pass, input gradient and "
      "weight\n"
      "gradient, against float64; operands normal, two images, one seed. The worst layer shape of each "
      "network:\n\n"
      "| network | layer shapes | fp32 | split-bf16-x6 | split-bf16 | bf16 "
      "|\n|---|---:|---:|---:|---:|---:|\n");
  for (const auto& [network, table] : networks) {
    Errors worst{};
    for (const auto& [layer, errors] : table)
      for (size_t m = 0; m < errors.size(); ++m) worst[m] = std::max(worst[m], errors[m]);
    fmt::print("| {} | {} | {:.1e} | {:.1e} | {:.1e} | {:.1e} |\n", network, table.size(), worst[0], worst[1],
               worst[2], worst[3]);
  }
  Table all;
  for (const auto& [network, table] : networks) all.insert(table.begin(), table.end());
  fmt::print(
      "\nAll {} shapes:\n\n| layer | fp32 | split-bf16-x6 | split-bf16 | bf16 |\n|---|---:|---:|---:|---:|\n",
      all.size());
  for (const auto& [layer, e] : all)
    fmt::print("| {} | {:.1e} | {:.1e} | {:.1e} | {:.1e} |\n", layer, e[0], e[1], e[2], e[3]);
}

}  // namespace
}  // namespace hashgrad

int main() {
  using namespace hashgrad;
  std::map<std::string, Table> networks;
  Table measured;
  for (const ZooEntry& entry : zoo()) {
    const Spec spec = parse_spec(entry.spec);
    const std::vector<Shape> shapes = layer_shapes(spec);
    for (size_t i = 0; i < spec.layers.size(); ++i)
      add_layer(spec.layers[i], shapes[i], shapes[i + 1], measured, networks[entry.name]);
  }
  print(networks);
}
