#include "nn/fixed_weights.h"

namespace hashgrad {
namespace {

std::vector<const void*> matrices_of(std::initializer_list<const Model*> models) {
  std::vector<const void*> matrices;
  for (const Model* model : models) {
    if (!model || model->device() != Device{}) continue;
    for (const auto& [name, tensor] : model->state())
      if (tensor.rank() == 2 || tensor.rank() == 4)
        for_float_type(tensor.dtype(), "fixed weights",
                       [&]<class T>() { matrices.push_back(tensor.template data<T>()); });
  }
  return matrices;
}

}  // namespace

FixedWeights::FixedWeights(std::initializer_list<const Model*> models) : panels_(matrices_of(models)) {}

}  // namespace hashgrad
