#include "defenses/input_transforms.h"

#include <nlohmann/json.hpp>

#include "defenses/record.h"
#include "nn/model.h"

namespace hashgrad {

void add_input_transform(Model& model, const std::string& method, int64_t value) {
  InputTransformPtr transform = make_input_transform(method, value);
  const TransformKind& kind = *find_transform(method);
  Model defended = model.alias();  // so that a refusal leaves the model as it was
  record_defence(defended, {{"method", method}, {kind.setting, value}});
  defended.add_transform(std::move(transform));
  model.inherit(defended);
}

}  // namespace hashgrad
