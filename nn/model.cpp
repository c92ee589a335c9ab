#include "nn/model.h"

#include "autograd/ops/softmax.h"
#include "nn/activation.h"
#include "nn/batch_norm.h"
#include "nn/branch.h"
#include "nn/conv.h"
#include "nn/dropout.h"
#include "nn/flatten.h"
#include "nn/hashed.h"
#include "nn/linear.h"
#include "nn/models/zoo.h"
#include "nn/normalize.h"
#include "nn/pool.h"
#include "nn/randomised.h"

namespace hashgrad {
namespace {

using Kind = LayerSpec::Kind;
using Layers = std::vector<std::unique_ptr<Module>>;

HashedMatrices matrices_of(const LayerSpec& layer, const Shape& input, uint32_t index,
                           const HashOptions& options) {
  const bool conv = layer.kind == Kind::conv;
  const auto share = [](cpu::HashedMatrix v) {
    return std::make_shared<const cpu::HashedMatrix>(std::move(v));
  };
  HashSpec hash{layer_seed(options.seed, index, options.mode),
                cpu::bucket_count(virtual_weights(layer, input), layer.rate, options.mode), options.mode};
  HashedMatrices m;
  m.weights = share(conv ? cpu::HashedMatrix::convolution(hash, layer.out, input[0], layer.kernel.height,
                                                          layer.kernel.width)
                         : cpu::HashedMatrix::linear(hash, layer.out, input[0]));
  if (!layer.bias || !options.bias) return m;
  hash.buckets = cpu::bucket_count(layer.out, layer.rate);  // biases are placed by mode full
  m.bias = share(conv ? cpu::HashedMatrix::convolution_bias(hash, layer.out)
                      : cpu::HashedMatrix::linear_bias(hash, layer.out));
  return m;
}

HashedParameters hashed_parameters(const LayerSpec& layer, const Shape& input, uint32_t index,
                                   const ModelOptions& options) {
  HashedMatrices m = matrices_of(layer, input, index, options.hash);
  return {std::move(m.weights), std::move(m.bias), layer.bias, options.dtype};
}

std::unique_ptr<Module> make_conv(const LayerSpec& layer, const Shape& input, uint32_t index,
                                  const ModelOptions& options) {
  if (layer.hashed())
    return std::make_unique<HashedConvLayer>(hashed_parameters(layer, input, index, options), layer);
  return std::make_unique<ConvLayer>(layer, input[0], options.dtype);
}

std::unique_ptr<Module> make_linear(const LayerSpec& layer, const Shape& input, uint32_t index,
                                    const ModelOptions& options) {
  if (layer.hashed())
    return std::make_unique<HashedLinearLayer>(hashed_parameters(layer, input, index, options));
  return std::make_unique<LinearLayer>(input[0], layer.out, layer.bias, options.dtype);
}

/// Null for a branch token, which is no function of the current value alone.
std::unique_ptr<Module> make_layer(const LayerSpec& layer, const Shape& input, uint32_t index,
                                   const ModelOptions& options) {
  const PoolOptions pool{layer.kernel.height, layer.stride, layer.padding.height};
  switch (layer.kind) {
    case Kind::conv:
      return make_conv(layer, input, index, options);
    case Kind::fc:
      return make_linear(layer, input, index, options);
    case Kind::bn:
      return std::make_unique<BatchNormLayer>(input[0], layer.eps, layer.momentum, options.dtype);
    case Kind::relu:
      return std::make_unique<ReluLayer>();
    case Kind::max_pool:
      return std::make_unique<MaxPoolLayer>(pool);
    case Kind::avg_pool:
      return std::make_unique<AvgPoolLayer>(pool);
    case Kind::global_avg_pool:
      return std::make_unique<GlobalAvgPoolLayer>();
    case Kind::flatten:
      return std::make_unique<FlattenLayer>();
    case Kind::dropout:
      return std::make_unique<DropoutLayer>(layer.probability, index);
    case Kind::softmax:
      return std::make_unique<SoftmaxLayer>();
    case Kind::norm:
      return std::make_unique<NormLayer>(layer.means, layer.deviations, options.dtype);
    case Kind::standardise:
      return std::make_unique<StandardiseLayer>();
    case Kind::scale:
      return std::make_unique<ScaleLayer>(layer.factor);
    case Kind::label:
    case Kind::add:
    case Kind::go_back:
    case Kind::concat:
      break;
  }
  return nullptr;
}

/// Whether the value in front of layer i has the name that the addition `add` asks for.
bool is_named(const std::vector<LayerSpec>& layers, size_t i, const LayerSpec& add) {
  for (; i > 0 && layers[i - 1].branches(); --i)
    if (layers[i - 1].labels[0] == add.labels[0]) return true;
  return false;
}

/// What the kernel of layer i also computes of the layers behind it, up to layer `end`; `norm`: the layer
/// behind it, if that is batch norm of inference. An addition of the layer's own input stays apart: its
/// gradients would be added up in another order.
Fused fused_behind(const std::vector<LayerSpec>& layers, size_t i, size_t end, const BatchNormLayer* norm) {
  const LayerSpec pool2{.kind = Kind::max_pool, .kernel = 2, .stride = 2};
  const auto is = [&](size_t at, Kind kind) { return at < end && layers[at].kind == kind; };
  Fused fused;
  if (is(i, Kind::conv) && !layers[i].hashed() && i + 1 < end) fused.norm = norm;
  const bool normalised = is(i, Kind::bn) || fused.norm;
  size_t next = i + 1 + size_t{fused.norm != nullptr};
  fused.add = normalised && is(next, Kind::add) && !is_named(layers, i, layers[next]);
  next += size_t{fused.add};
  fused.relu = layers[i].has_parameters() && is(next, Kind::relu);
  fused.max_pool2 =
      fused.relu && !normalised && is(i, Kind::conv) && next + 1 < end && layers[next + 1] == pool2;
  return fused;
}

/// The largest codes of a wide format, converted to float32, become a power of two that is none
/// (FixedPointFormat::highest_code). Values that were no codes before stay what the conversion makes of them.
void keep_in_format(const FixedPointFormat& format, const Tensor& before, Tensor converted) {
  if (identical(fixed_point(before, format), before)) converted.copy_from(fixed_point(converted, format));
}

}  // namespace

Model::Model(const std::string& text, const ModelOptions& options) : Model(spec_of(text), options) {}

Model::Model(const Spec& spec, const ModelOptions& options)
    : spec_(spec),
      hash_(options.hash),
      dtype_(options.dtype),
      shapes_(layer_shapes(spec)),
      labels_(label_spans(spec)) {
  check(is_floating(dtype_), "model: computes in float32 or float64, not in {}", name_of(dtype_));
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    layers_.push_back(make_layer(spec.layers[i], shapes_[i], static_cast<uint32_t>(i), options));
    if (layers_.back()) layers_.back()->initialise({options.init, options.seed, i});
  }
}

template <TensorLike X>
void Model::check_images(const X& images) const {
  check(images.rank() == 4 && images.shape().without(0) == spec_.input,
        "model: images of shape {}, expected [N,{},{},{}]", images.shape(), spec_.input[0], spec_.input[1],
        spec_.input[2]);
  check(images.dtype() == dtype_, "model: images are {}, the model computes in {}", name_of(images.dtype()),
        name_of(dtype_));
  check(images.device() == device_, "model: images are on {}, the model is on {}", to_string(images.device()),
        to_string(device_));
}

void Model::check_cut(size_t at) const {
  for (const auto& [label, span] : labels_)
    check(at <= span.defined || span.last_use < at,
          "model: a pass cannot begin or end in front of layer {}: the value '{}' is named by layer {} and "
          "used by layer {}",
          at, label, span.defined, span.last_use);
}

template <TensorLike X>
X Model::run(X x, const Pass& pass, size_t begin, size_t end, bool fuse) const {
  check(begin <= end && end <= layers_.size(), "model: layers [{}, {}) asked for, there are {}", begin, end,
        layers_.size());
  check(!randomised(*this),
        "model: a defence draws random numbers at every answer, so there is no single one; ask a realisation "
        "(nn/randomised.h), or an Oracle with its draws");
  for (const size_t at : {begin, end}) check_cut(at);
  NamedValues<X> named(labels_);
  for (size_t i = begin; i < end;) {
    const auto rounding = coding.activations.lower_bound(i);
    const bool any = rounding != coding.activations.end();
    const size_t stop = any ? std::min(end, rounding->first + 1) : end;
    const bool constants = !pass.training && i + 1 < end && spec_.layers[i + 1].kind == Kind::bn;
    const auto* norm = constants ? static_cast<const BatchNormLayer*>(layers_[i + 1].get()) : nullptr;
    Fused fused = fuse ? fused_behind(spec_.layers, i, stop, norm) : Fused{};
    const size_t add = i + 1 + size_t{fused.norm != nullptr};
    if (fused.add) fused.added = named.take(spec_.layers[add], add);
    x = layers_[i] ? layers_[i]->forward(x, pass, fused) : named.follow(spec_.layers[i], i, x);
    i += 1 + fused.layers();
    if (any && i == rounding->first + 1) x = fixed_point(x, rounding->second);
  }
  return x;
}

HashedMatrices Model::hashed_matrices(size_t i) const {
  check(i < spec_.layers.size() && spec_.layers[i].hashed(), "model: layer {} is not hashed", i);
  return matrices_of(spec_.layers[i], shapes_[i], static_cast<uint32_t>(i), hash_);
}

size_t Model::logits_end() const {
  return layers_.size() - size_t{spec_.layers.back().kind == Kind::softmax};
}

template <TensorLike X>
X Model::logits_of(X images, const Pass& pass) const {
  check_images(images);
  for (const InputTransformPtr& transform : transforms_)
    images = transform_input(images, transform, pass.stand_ins);
  return run(std::move(images), pass, 0, logits_end(), true);
}

Tensor Model::logits(const Tensor& images, const Pass& pass) const { return logits_of(images, pass); }
Variable Model::logits(const Variable& images, const Pass& pass) const { return logits_of(images, pass); }
Tensor Model::probabilities(const Tensor& images, const Pass& pass) const {
  return softmax(logits(images, pass));
}
Variable Model::probabilities(const Variable& images, const Pass& pass) const {
  return softmax(logits(images, pass));
}
Tensor Model::forward(const Tensor& x, const Pass& pass, size_t begin, size_t end, bool fuse) const {
  return run(x, pass, begin, end, fuse);
}
Variable Model::forward(const Variable& x, const Pass& pass, size_t begin, size_t end, bool fuse) const {
  return run(x, pass, begin, end, fuse);
}

void Model::add_transform(InputTransformPtr transform) {
  static_cast<void>(
      transform->forward(Tensor::empty(spec_.input.with(0, 0), dtype_)));  // no image of this shape
  transforms_.push_back(std::move(transform));
}

void Model::inherit(const Model& from) {
  metadata = from.metadata;
  transforms_ = from.transforms_;
}

template <class F>
void Model::for_modules(const F& f) const {
  for (size_t i = 0; i < layers_.size(); ++i)
    if (layers_[i]) f(i, *layers_[i]);
}

std::vector<Parameter> Model::parameters() {
  std::vector<Parameter> all;
  for_modules([&](size_t i, Module& module) {
    for (const Parameter& p : module.parameters())
      all.push_back({parameter_name(i, p.name), p.variable, p.hashed, i});
  });
  return all;
}

std::vector<Buffer> Model::buffers() {
  std::vector<Buffer> all;
  for_modules([&](size_t i, Module& module) {
    for (const Buffer& b : module.buffers()) all.push_back({parameter_name(i, b.name), b.tensor, i});
  });
  return all;
}

Variable& Model::parameter(const std::string& name) {
  std::string have;
  for (const Parameter& p : parameters()) {
    if (p.name == name) return *p.variable;
    have += (have.empty() ? "" : ", ") + p.name;
  }
  fail("model: has no parameter '{}' (it has: {})", name, have.empty() ? "none" : have);
}

std::map<std::string, Tensor> Model::state() const {
  std::map<std::string, Tensor> state;
  for_modules([&](size_t i, Module& module) {
    for (const Parameter& p : module.parameters()) state[parameter_name(i, p.name)] = p.variable->value();
    for (const Buffer& b : module.buffers()) state[parameter_name(i, b.name)] = *b.tensor;
  });
  return state;
}

void Model::zero_grad() {
  for (const Parameter& p : parameters()) p.variable->zero_grad();
}

Model Model::to(DType dtype) const {
  Model copy(spec_, {.dtype = dtype, .init = Init::zeros, .hash = hash_});
  copy.move(device_);
  const std::map<std::string, Tensor> from = state();
  for (auto& [name, tensor] : copy.state()) {
    tensor.copy_from(from.at(name));
    const auto format = coding.of(name).fixed_point;
    if (format && dtype != dtype_) keep_in_format(*format, from.at(name), tensor);
  }
  copy.coding = coding;
  copy.inherit(*this);
  return copy;
}

Model Model::to(Device device) const {
  Model copy = clone();
  copy.move(device);
  return copy;
}

Model Model::alias() const {
  Model other(spec_, {.dtype = dtype_, .init = Init::zeros, .hash = hash_});
  other.move(device_);
  const std::map<std::string, Tensor> shared = state();
  for (const Parameter& p : other.parameters()) *p.variable = Variable::leaf(shared.at(p.name));
  for (const Buffer& b : other.buffers()) *b.tensor = shared.at(b.name);
  other.coding = coding;
  other.inherit(*this);
  return other;
}

void Model::move(Device device) {
  for_modules([&](size_t, Module& module) { module.move(device); });
  device_ = device;
}

}  // namespace hashgrad
