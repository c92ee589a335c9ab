#include "experiments/study/cost.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <numeric>

#include "nn/model.h"

namespace hashgrad::study {

double flops_per_image(const Spec& spec) {
  const std::vector<Shape> shapes = layer_shapes(spec);
  double sum = 0;
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    const LayerSpec& layer = spec.layers[i];
    const int64_t pixels = layer.kind == LayerSpec::Kind::conv ? shapes[i + 1][1] * shapes[i + 1][2] : 1;
    if (layer.has_weight()) sum += 2.0 * static_cast<double>(virtual_weights(layer, shapes[i]) * pixels);
  }
  return sum;
}

double training_flops(const Spec& spec, int64_t images, int64_t epochs) {
  return 3 * flops_per_image(spec) * static_cast<double>(images * epochs);
}

double measured_flops_per_second(const Spec& spec, const cli::CommonFlags& flags) {
  const Model model = Model(spec).to(flags.type()).to(flags.where());
  const Shape& image = model.input_shape();
  const Tensor x = Tensor::zeros({flags.batch, image[0], image[1], image[2]}, flags.type()).to(flags.where());
  const auto pass = [&] { model.logits(x).to(Device{}); };  // a device has finished once its answer is here
  pass();                                                   // warm
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  std::chrono::duration<double> spent{};
  int64_t images = 0;
  do {
    pass();
    images += flags.batch;
    spent = Clock::now() - start;
  } while (spent.count() < 0.25);
  return static_cast<double>(images) * flops_per_image(spec) / spent.count();
}

Shard parse_shard(const std::string& text) {
  Shard shard{0, 0};
  const char *begin = text.data(), *end = begin + text.size();
  const auto [slash, first] = std::from_chars(begin, end, shard.number);
  const bool divided = first == std::errc{} && slash != end && *slash == '/';
  const auto [rest, second] = std::from_chars(divided ? slash + 1 : end, end, shard.count);
  check(divided && second == std::errc{} && rest == end && shard.number >= 1 && shard.number <= shard.count,
        "'{}' is not a shard such as 1/2 or 2/2", text);
  return shard;
}

std::vector<int64_t> partition(const std::vector<Work>& cells, const std::vector<double>& networks,
                               int64_t shards) {
  const auto count = static_cast<size_t>(shards);
  std::vector<double> load(count, 0.0);
  std::vector<std::vector<bool>> made(count, std::vector<bool>(networks.size()));
  const auto added = [&](size_t shard, const Work& work) {
    double flops = work.flops;
    for (const size_t network : work.networks)
      if (!made[shard][network]) flops += networks[network];
    return flops;
  };
  std::vector<double> alone;
  for (const Work& work : cells) alone.push_back(added(0, work));
  std::vector<size_t> order(cells.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return alone[a] > alone[b]; });
  std::vector<int64_t> result(cells.size());
  for (const size_t cell : order) {
    size_t best = 0;
    for (size_t s = 1; s < count; ++s)
      if (load[s] + added(s, cells[cell]) < load[best] + added(best, cells[cell])) best = s;
    load[best] += added(best, cells[cell]);
    for (const size_t network : cells[cell].networks) made[best][network] = true;
    result[cell] = static_cast<int64_t>(best) + 1;
  }
  return result;
}

}  // namespace hashgrad::study
