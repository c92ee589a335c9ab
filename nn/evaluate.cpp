#include "nn/evaluate.h"

#include <algorithm>

#include "autograd/ops/loss.h"
#include "nn/fixed_weights.h"
#include "nn/prediction.h"

namespace hashgrad {

void check_fits(const Model& model, const Dataset& data) {
  check(data.size() > 0, "{}: has no samples", data.name);
  check(data.labelled(), "{}: has no labels", data.name);
  check(data.image_shape() == model.input_shape(), "{}: images are {}, the model takes {}", data.name,
        data.image_shape(), model.input_shape());
  check(data.classes <= model.classes(), "{}: has {} classes, the model tells {} apart", data.name,
        data.classes, model.classes());
}

Score evaluate(const Model& model, const Dataset& data, int64_t batch) {
  check_fits(model, data);
  check(batch >= 1, "evaluate: batch {} must be at least 1", batch);
  const FixedWeights fixed({&model});
  Score result{.samples = data.size()};
  for (int64_t begin = 0; begin < data.size(); begin += batch) {
    const int64_t end = std::min(begin + batch, data.size());
    const Tensor labels = data.labels_of(begin, end);                                       // [B]
    const Tensor images = data.images_float(begin, end, model.dtype()).to(model.device());  // [B, C, H, W]
    const Tensor logits = model.logits(images).to(Device{});                                // [B, K]
    const std::vector<int64_t> wanted = labels.to_vector<int64_t>(), given = predictions_of(logits);
    for (double loss : cross_entropy(logits, labels).to(DType::float64).to_vector<double>())
      result.loss += loss;
    for (size_t i = 0; i < wanted.size(); ++i) {
      result.correct += wanted[i] == given[i];
      result.nan += given[i] < 0;
    }
  }
  const double samples = static_cast<double>(result.samples);
  result.accuracy = static_cast<double>(result.correct) / samples;
  result.loss /= samples;
  return result;
}

}  // namespace hashgrad
