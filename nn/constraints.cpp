#include "nn/constraints.h"

#include <algorithm>
#include <cmath>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/pointwise.h"
#include "core/random.h"
#include "nn/materialise.h"

namespace hashgrad {
namespace {

/// The code of one of the two neighbours of x steps: the upper one if the draw, uniform in [0,1), is below
/// the part of x beyond the lower. What lies on the lattice stays.
double stochastic_code(double x, double draw) {
  const double lower = std::floor(x);
  return lower + (draw < x - lower ? 1 : 0);
}

Tensor stochastically_rounded(const Tensor& values, const FixedPointFormat& format, Random random) {
  check(values.device() == Device{}, "stochastic rounding is done on the CPU; the model is on {}",
        to_string(values.device()));
  Tensor out = Tensor::empty(values.shape(), values.dtype());
  const auto lowest = static_cast<double>(format.lowest_code()),
             highest = static_cast<double>(format.highest_code(values.dtype()));
  for_float_type(values.dtype(), "fixed-point", [&]<class T>() {
    for (int64_t i = 0; i < values.numel(); ++i) {
      const double x = static_cast<double>(values.data<T>()[i]) / format.step();
      const double code = std::clamp(stochastic_code(x, random.uniform_double()), lowest, highest);
      out.data<T>()[i] = static_cast<T>(code * format.step() + 0.0);
    }
  });
  return out;
}

/// Values of a fixed-point format; + 0 turns -0, which has no code, into 0. `number` is the parameter's place
/// in the model.
Tensor rounded(const Tensor& values, const FixedPointFormat& format, Rounding rounding, uint64_t seed,
               int64_t number) {
  if (rounding == Rounding::nearest) return fixed_point(values, format) + 0.0;
  return stochastically_rounded(values, format,
                                Random(seed, Stream::quantize, static_cast<uint64_t>(number)));
}

void set_grad(const Variable& leaf, Tensor gradient) {
  static_cast<Leaf&>(*leaf.node()).grad = std::move(gradient);
}

/// Numbers the distinct values of a parameter. Zero has no number: it is none of the values that are shared
/// (compression/kmeans.h), whether it was pruned or not.
std::vector<int32_t> groups_of(const std::vector<double>& values, size_t& count) {
  std::vector<double> distinct = values;
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  count = distinct.size();
  std::vector<int32_t> group;
  for (const double value : values) {
    const auto at = std::lower_bound(distinct.begin(), distinct.end(), value) - distinct.begin();
    group.push_back(value == 0 ? -1 : static_cast<int32_t>(at));
  }
  return group;
}

/// Each weight's gradient becomes the sum over its group, added up in order; those without a group get 0.
template <class T>
Tensor summed_by_group(const Tensor& gradient, const std::vector<int32_t>& group, size_t count) {
  std::vector<T> g = gradient.to_vector<T>();
  std::vector<double> sums(count);
  for (size_t i = 0; i < g.size(); ++i)
    if (group[i] >= 0) sums[static_cast<size_t>(group[i])] += static_cast<double>(g[i]);
  for (size_t i = 0; i < g.size(); ++i)
    g[i] = group[i] >= 0 ? static_cast<T>(sums[static_cast<size_t>(group[i])]) : T{0};
  return Tensor::of(g, gradient.shape());
}

/// Whether all weights of each group are equal.
bool agree(const Tensor& weights, const std::vector<int32_t>& group, size_t count) {
  const std::vector<double> values = weights.to(DType::float64).to_vector<double>();
  std::vector<std::optional<double>> of_group(count);
  for (size_t i = 0; i < values.size(); ++i) {
    if (group[i] < 0) continue;
    std::optional<double>& value = of_group[static_cast<size_t>(group[i])];
    if (value && *value != values[i]) return false;
    value = values[i];
  }
  return true;
}

/// 1 / occupancy of each bucket, 0 for an empty one.
Tensor shares_of(const cpu::HashedMatrix& v, DType dtype) {
  std::vector<double> shares;
  for (const int64_t weights : occupancy(v))
    shares.push_back(weights > 0 ? 1 / static_cast<double>(weights) : 0);
  return Tensor::of(shares, {std::ssize(shares)}).to(dtype);
}

std::string master_name(const std::string& parameter) { return "train.master." + parameter; }
std::string mask_name(const std::string& parameter) { return "train.mask." + parameter; }

}  // namespace

Constraints::Constraints(Model& model, const ConstraintOptions& options)
    : options_(options), parameters_(model.parameters()) {
  add_averages(model);
  add_masters(model);
  add_groups(model);
  for (const Parameter& p : trained()) {
    const auto& operated = options_.surgery.parameters;
    const bool fixed = std::find(operated.begin(), operated.end(), p.name) == operated.end();
    if (fixed && model.coding.of(p.name).pruned) pruned_.push_back(p);
  }
  project();
}

void Constraints::add_masters(Model& model) {
  const auto copy_of = [](const Parameter& p) { return Variable::leaf(p.variable->value().clone()); };
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& p = parameters_[i];
    if (const auto format = model.coding.of(p.name).fixed_point)
      rounded_.push_back({{p.name, p.variable, copy_of(p)}, *format, static_cast<int64_t>(i)});
  }
  for (const std::string& name : options_.surgery.parameters) {
    Variable& parameter = model.parameter(name);
    masked_.push_back({{name, &parameter, Variable::leaf(parameter.value().clone())},
                       Tensor::full(parameter.shape(), 1, parameter.dtype(), parameter.device())});
  }
}

void Constraints::add_groups(Model& model) {
  for (Parameter& p : parameters_) {
    const ParameterCoding coding = model.coding.of(p.name);
    if (coding.shared_bits == 0) continue;
    check(model.device() == Device{},
          "train: '{}' has shared weights, which are trained on the CPU; the model is on {}", p.name,
          to_string(model.device()));
    Groups groups{p.variable, {}, 0};
    groups.group = groups_of(p.variable->value().to(DType::float64).to_vector<double>(), groups.count);
    shared_.push_back(std::move(groups));
    p.hashed = true;  // like a bucket value, a centroid collects the gradient of many weights
  }
}

void Constraints::add_averages(Model& model) {
  if (options_.hashed_gradient == HashedGradient::sum) return;
  const auto add = [&](const std::string& name, const cpu::HashedMatrix& v) {
    Variable& parameter = model.parameter(name);
    averaged_.push_back({&parameter, shares_of(v, parameter.dtype()).to(parameter.device())});
  };
  for (size_t i = 0; i < model.spec().layers.size(); ++i) {
    if (!model.spec().layers[i].hashed()) continue;
    const HashedMatrices v = model.hashed_matrices(i);
    add(model.parameter_name(i, "weight"), *v.weights);
    if (v.bias) add(model.parameter_name(i, "bias"), *v.bias);
  }
}

std::vector<Constraints::Master*> Constraints::masters() {
  std::vector<Master*> all;
  for (Master& master : rounded_) all.push_back(&master);
  for (Master& master : masked_) all.push_back(&master);
  return all;
}

Variable& Constraints::trained_of(const Parameter& p) {
  for (Master* master : masters())
    if (master->parameter == p.variable) return master->value;
  return *p.variable;
}

std::vector<Parameter> Constraints::trained() {
  std::vector<Parameter> all = parameters_;
  for (Parameter& p : all) p.variable = &trained_of(p);
  return all;
}

void Constraints::revise(const Moment& moment) {
  if (masked_.empty()) return;
  std::vector<MaskedWeights> all;  // they share memory with masked_
  for (const Masked& masked : masked_) all.push_back({masked.name, masked.value.value(), masked.mask});
  if (options_.surgery.revise(moment, all)) project();
}

void Constraints::constrain_gradients() {
  for (const Averaged& averaged : averaged_)
    set_grad(*averaged.parameter, averaged.parameter->grad() * averaged.share);
  for (Rounded& master : rounded_) {
    FixedPoint rounding{master.format};
    rounding.forward(Needs{1}, master.value.value());
    set_grad(master.value, rounding.backward(Needs{1}, master.parameter->grad(), 1)[0]);
  }
  for (const Masked& masked : masked_) {
    const Tensor gradient = masked.parameter->grad();
    set_grad(masked.value, options_.surgery.pruned_learn ? gradient : gradient * masked.mask);
  }
  for (const Groups& groups : shared_)
    for_float_type(groups.parameter->dtype(), "train", [&]<class T>() {
      set_grad(*groups.parameter, summed_by_group<T>(groups.parameter->grad(), groups.group, groups.count));
    });
  for (const Parameter& p : pruned_)
    set_grad(*p.variable, p.variable->grad() * square(sign(p.variable->value())));  // times 1, or 0 at a zero
}

void Constraints::project() {
  for (const Rounded& master : rounded_)
    master.parameter->value().copy_from(
        rounded(master.value.value(), master.format, options_.rounding, options_.seed, master.number));
  for (const Masked& masked : masked_)  // + 0: files know a pruned weight by 0, and -0 from it
    masked.parameter->value().copy_from(masked.value.value() * masked.mask + 0.0);
}

void Constraints::save(Archive& archive) const {
  const auto save_master = [&](const Master& master) {
    archive.tensors[master_name(master.name)] = master.value.value().to(Device{});
  };
  for (const Rounded& master : rounded_) save_master(master);
  for (const Masked& masked : masked_) {
    save_master(masked);
    archive.tensors[mask_name(masked.name)] = masked.mask.to(Device{});
  }
}

void Constraints::load(const Archive& archive, const std::string& name) {
  for (Master* master : masters()) archive.restore(master_name(master->name), name, master->value.value());
  for (Masked& masked : masked_) archive.restore(mask_name(masked.name), name, masked.mask);
  project();
  for (const Groups& groups : shared_)  // they are those of the model that training began with
    check(agree(groups.parameter->value(), groups.group, groups.count),
          "{}: was made from another model: its shared weights are not grouped as here", name);
}

void round_parameters(Model& model, Rounding rounding, uint64_t seed) {
  const std::vector<Parameter> all = model.parameters();
  for (size_t i = 0; i < all.size(); ++i)
    if (const auto format = model.coding.of(all[i].name).fixed_point)
      all[i].variable->value().copy_from(
          rounded(all[i].variable->value(), *format, rounding, seed, static_cast<int64_t>(i)));
}

}  // namespace hashgrad
