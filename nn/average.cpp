#include "nn/average.h"

#include <cmath>

#include "autograd/ops/arithmetic.h"

namespace hashgrad {
namespace {

std::string sum_name(const std::string& parameter) { return "train.average." + parameter; }

}  // namespace

WeightAverage::WeightAverage(std::vector<Parameter> parameters, double decay)
    : parameters_(std::move(parameters)), decay_(decay) {
  check(decay > 0 && decay < 1, "train: the decay of the weights' average is {}, (0, 1) is accepted", decay);
  for (const Parameter& p : parameters_)
    sums_.push_back(Tensor::zeros(p.variable->shape(), DType::float64, p.variable->device()));
}

void WeightAverage::update() {
  for (size_t i = 0; i < sums_.size(); ++i)
    sums_[i].copy_from(sums_[i] * decay_ +
                       parameters_[i].variable->value().to(DType::float64) * (1 - decay_));
}

void WeightAverage::lend(int64_t updates) {
  check(updates > 0 && lent_.empty(), "train: there is no average of {} updates", updates);
  const double whole = 1 - std::pow(decay_, static_cast<double>(updates));
  for (size_t i = 0; i < sums_.size(); ++i) {
    Tensor& weights = parameters_[i].variable->value();
    lent_.push_back(weights.clone());
    weights.copy_from(sums_[i] / whole);
  }
}

void WeightAverage::take_back() {
  for (size_t i = 0; i < lent_.size(); ++i) parameters_[i].variable->value().copy_from(lent_[i]);
  lent_.clear();
}

void WeightAverage::save(Archive& archive) const {
  for (size_t i = 0; i < sums_.size(); ++i)
    archive.tensors[sum_name(parameters_[i].name)] = sums_[i].to(Device{});
}

void WeightAverage::load(const Archive& archive, const std::string& name) {
  for (size_t i = 0; i < sums_.size(); ++i) {
    const Tensor& saved = archive.at(sum_name(parameters_[i].name), name);
    check(saved.shape() == sums_[i].shape() && is_floating(saved.dtype()),
          "{}: tensor '{}' is {} {}, float64 {} is expected", name, sum_name(parameters_[i].name),
          name_of(saved.dtype()), saved.shape(), sums_[i].shape());
    sums_[i].copy_from(saved);
  }
}

}  // namespace hashgrad
