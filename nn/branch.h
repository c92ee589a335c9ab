// What the branch tokens of a spec (=a, +a, <a, cat(a,b)) do to the values of a forward pass.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/view.h"
#include "nn/spec.h"

namespace hashgrad {

/// The values that have names in one forward pass. Each is let go at its last use, so that a pass holds no
/// more memory than its branches need.
template <TensorLike X>
class NamedValues {
 public:
  /// `spans`: as label_spans() of the spec; must outlive this.
  explicit NamedValues(const std::map<std::string, LabelSpan>& spans) : spans_(spans) {}

  /// What branch token `layer`, number i, makes of the current value [N,...].
  X follow(const LayerSpec& layer, size_t i, const X& current) {
    const std::string& first = layer.labels[0];
    if (layer.kind == LayerSpec::Kind::label) return values_[first] = current;
    if (layer.kind == LayerSpec::Kind::add) return current + take(layer, i);
    if (layer.kind == LayerSpec::Kind::go_back) return take(layer, i);
    std::vector<X> parts;
    for (const std::string& label : layer.labels) parts.push_back(values_.at(label));
    for (const std::string& label : layer.labels) forget_after(label, i);
    return concat(parts, 1);
  }

  /// The value that token `layer`, number i, adds or goes back to.
  X take(const LayerSpec& layer, size_t i) {
    X value = values_.at(layer.labels[0]);
    forget_after(layer.labels[0], i);
    return value;
  }

 private:
  void forget_after(const std::string& label, size_t i) {
    if (spans_.at(label).last_use == i) values_.erase(label);
  }

  const std::map<std::string, LabelSpan>& spans_;
  std::map<std::string, X> values_;
};

}  // namespace hashgrad
