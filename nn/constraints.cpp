#include "nn/constraints.h"

#include <algorithm>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/pointwise.h"

namespace hashgrad {
namespace {

/// Values of a fixed-point format; + 0 turns -0, which has no code, into 0.
Tensor rounded(const Tensor& values, const FixedPointFormat& format) {
  return fixed_point(values, format) + 0.0;
}

void set_grad(const Variable& leaf, Tensor gradient) {
  static_cast<Leaf&>(*leaf.node()).grad = std::move(gradient);
}

/// Numbers the distinct values of a parameter; `zeros_stay` leaves zero without a number.
std::vector<int32_t> groups_of(const std::vector<double>& values, bool zeros_stay, size_t& count) {
  std::vector<double> distinct = values;
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  count = distinct.size();
  std::vector<int32_t> group;
  for (const double value : values) {
    const auto at = std::lower_bound(distinct.begin(), distinct.end(), value) - distinct.begin();
    group.push_back(zeros_stay && value == 0 ? -1 : static_cast<int32_t>(at));
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

std::string master_name(const std::string& parameter) { return "train.master." + parameter; }

}  // namespace

Constraints::Constraints(Model& model) : parameters_(model.parameters()) {
  for (Parameter& p : parameters_) {
    const ParameterCoding coding = model.coding.of(p.name);
    if (coding.fixed_point)
      masters_.push_back(
          {p.variable, Variable::leaf(p.variable->value().clone()), *coding.fixed_point, p.name});
    if (coding.shared_bits == 0) continue;
    check(model.device() == Device{},
          "train: '{}' has shared weights, which are trained on the CPU; the model is on {}", p.name,
          to_string(model.device()));
    Groups groups{p.variable, {}, 0};
    groups.group =
        groups_of(p.variable->value().to(DType::float64).to_vector<double>(), coding.pruned, groups.count);
    shared_.push_back(std::move(groups));
    p.hashed = true;  // like a bucket value, a centroid collects the gradient of many weights
  }
  for (const Parameter& p : trained())
    if (model.coding.of(p.name).pruned) pruned_.push_back(p);
  project();
}

Variable& Constraints::trained_of(const Parameter& p) {
  for (Master& master : masters_)
    if (master.parameter == p.variable) return master.value;
  return *p.variable;
}

std::vector<Parameter> Constraints::trained() {
  std::vector<Parameter> all = parameters_;
  for (Parameter& p : all) p.variable = &trained_of(p);
  return all;
}

void Constraints::constrain_gradients() {
  for (Master& master : masters_) {
    FixedPoint rounding{master.format};
    rounding.forward(Needs{1}, master.value.value());
    set_grad(master.value, rounding.backward(Needs{1}, master.parameter->grad(), 1)[0]);
  }
  for (const Groups& groups : shared_)
    for_float_type(groups.parameter->dtype(), "train", [&]<class T>() {
      set_grad(*groups.parameter, summed_by_group<T>(groups.parameter->grad(), groups.group, groups.count));
    });
  for (const Parameter& p : pruned_)
    set_grad(*p.variable, p.variable->grad() * square(sign(p.variable->value())));  // times 1, or 0 at a zero
}

void Constraints::project() {
  for (const Master& master : masters_)
    master.parameter->value().copy_from(rounded(master.value.value(), master.format));
}

void Constraints::save(Archive& archive) const {
  for (const Master& master : masters_)
    archive.tensors[master_name(master.name)] = master.value.value().to(Device{});
}

void Constraints::load(const Archive& archive, const std::string& name) {
  for (Master& master : masters_) {
    const Tensor& saved = archive.at(master_name(master.name), name);
    check(saved.shape() == master.value.shape() && saved.dtype() == master.value.dtype(),
          "{}: tensor '{}' is {} {}, {} {} is expected", name, master_name(master.name),
          name_of(saved.dtype()), saved.shape(), name_of(master.value.dtype()), master.value.shape());
    master.value.value().copy_from(saved);
  }
  project();
}

void round_parameters(Model& model) {
  for (const Parameter& p : model.parameters())
    if (const auto format = model.coding.of(p.name).fixed_point)
      p.variable->value().copy_from(rounded(p.variable->value(), *format));
}

}  // namespace hashgrad
