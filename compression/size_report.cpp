#include "compression/size_report.h"

#include <map>

#include "compression/huffman.h"
#include "nn/weight_codec.h"

namespace hashgrad {
namespace {

int64_t bytes_of(const Tensor& tensor) {
  return tensor.numel() * static_cast<int64_t>(size_of(tensor.dtype()));
}

/// How often each value occurs, those that the file leaves out not counted.
std::vector<int64_t> value_counts(const Tensor& values, bool zeros_left_out) {
  std::map<double, int64_t> counts;
  for (const double value : values.to(DType::float64).to_vector<double>()) ++counts[value];
  if (zeros_left_out) counts.erase(0.0);
  std::vector<int64_t> all;
  for (const auto& [value, count] : counts) all.push_back(count);
  return all;
}

/// Weights of the dense layer that parameter `name` belongs to.
int64_t virtual_count(const Model& model, const Parameter& p) {
  const LayerSpec& layer = model.spec().layers[p.layer];
  if (!layer.hashed()) return p.variable->value().numel();
  return p.name.ends_with(".weight") ? virtual_weights(layer, model.shapes()[p.layer]) : layer.out;
}

LayerSize size_of_parameter(const Model& model, const Parameter& p) {
  const std::string& name = p.name;
  const Tensor& values = p.variable->value();
  const ParameterCoding coding = model.coding.of(name);
  const auto parts = encode_parameter(values, coding, fmt::format("model: parameter '{}'", name));
  LayerSize size{.name = name, .layer = p.layer, .virtual_parameters = virtual_count(model, p)};
  for (const auto& [suffix, part] : parts) size.bytes += bytes_of(part);
  size.real_parameters = values.numel();
  if (coding.pruned)
    for (const double value : values.to(DType::float64).to_vector<double>())
      size.real_parameters -= value == 0;
  if (coding.shared_bits == 0) return size;
  size.real_parameters = std::ssize(value_counts(values, coding.pruned));
  const std::vector<int64_t> counts = value_counts(values, parts.contains(".gaps"));
  size.huffman_bytes =
      size.bytes - bytes_of(parts.at(".codes")) + (huffman_bits(counts) + 7) / 8 + std::ssize(counts);
  return size;
}

void add(SizeReport& report, const LayerSize& size) {
  report.virtual_parameters += size.virtual_parameters;
  report.real_parameters += size.real_parameters;
  if (size.huffman_bytes)
    report.huffman_bytes = report.huffman_bytes.value_or(report.bytes) + *size.huffman_bytes;
  else if (report.huffman_bytes)
    *report.huffman_bytes += size.bytes;
  report.bytes += size.bytes;
  report.layers.push_back(size);
}

}  // namespace

SizeReport size_report(const Model& model) {
  SizeReport report;
  Model copy = model.to(Device{});
  for (const Parameter& p : copy.parameters()) add(report, size_of_parameter(copy, p));
  report.dense_bytes = report.virtual_parameters * static_cast<int64_t>(size_of(model.dtype()));
  for (const Buffer& b : copy.buffers()) {
    add(report, {.name = b.name, .layer = b.layer, .bytes = bytes_of(*b.tensor)});
    report.dense_bytes += bytes_of(*b.tensor);
  }
  return report;
}

}  // namespace hashgrad
