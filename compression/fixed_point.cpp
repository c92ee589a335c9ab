#include "compression/fixed_point.h"

#include "compression/layers.h"
#include "nn/constraints.h"

namespace hashgrad {
namespace {

void declare_parameter(Model& model, const std::string& name, const FixedPointFormat& format) {
  ParameterCoding& coding = model.coding.parameters[name];
  check(coding.shared_bits == 0 && !coding.fixed_point, "compress fixed-point: '{}' is {} already", name,
        coding.fixed_point ? "in fixed point" : "shared");
  coding.fixed_point = format;
}

/// Behind layer i: where its sums are complete, in front of the activation function. Nowhere for class
/// scores.
void declare_activation(Model& model, size_t i, const FixedPointFormat& format) {
  if (output_layer(model.spec()) == i) return;
  const std::vector<LayerSpec>& layers = model.spec().layers;
  const bool normalised = i + 1 < layers.size() && layers[i + 1].kind == LayerSpec::Kind::bn;
  model.coding.activations[i + size_t{normalised}] = format;
}

}  // namespace

void declare_fixed_point(Model& model, const FixedPointCompression& options) {
  check_format(options.format, "compress fixed-point");
  for (const size_t i : select_layers(model.spec(), options.layers, "compress fixed-point")) {
    declare_parameter(model, model.parameter_name(i, "weight"), options.format);
    if (model.spec().layers[i].bias)
      declare_parameter(model, model.parameter_name(i, "bias"), options.format);
    if (options.activations) declare_activation(model, i, options.format);
  }
  model.metadata["compress.fixed-point"] =
      fmt::format("width {}, point {}, activations {}, layers {}, rounding {}", options.format.width,
                  options.format.point, options.activations ? "yes" : "no", options.layers,
                  options.rounding == Rounding::nearest ? "nearest" : "stochastic");
}

Model compress_fixed_point(const Model& model, const FixedPointCompression& options) {
  Model result = model.clone();
  declare_fixed_point(result, options);
  round_parameters(result, options.rounding, options.seed);
  return result;
}

}  // namespace hashgrad
