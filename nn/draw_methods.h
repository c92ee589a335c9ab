// How defences that draw at every answer (nn/randomised.h) change the weights of a layer: those of the
// library, and those that a program adds.
#pragma once

#include <string>
#include <vector>

#include "core/random.h"
#include "core/tensor.h"

namespace hashgrad {

struct DrawMethod {
  std::string strength;      ///< what an entry of `defences` calls its number: "eps"
  bool (*in_range)(double);  ///< which numbers it may be
  bool dense_only;           ///< for plain weights of fully connected layers alone
  /// Changes the weights of one layer in place, [out,in], [out,in,kh,kw] or the bucket values [K] of a hashed
  /// layer, contiguous on the CPU. A function of its arguments: `random` is keyed by draw, method and layer.
  void (*draw)(Tensor& weights, double strength, Random random);
};

/// From here on models may have it among their `defences` (record_defence in defenses/record.h), as
/// {"method": name, strength: number, "at": [layers], "draws": "forward"}. Call it before any other thread
/// looks at a model. Error: there is a method of this name.
void add_draw_method(const std::string& name, const DrawMethod& method);

/// Of gi3, dropout and those added; null for any other name.
const DrawMethod* draw_method(const std::string& name);
std::vector<std::string> draw_method_names();

}  // namespace hashgrad
