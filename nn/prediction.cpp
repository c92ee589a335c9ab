#include "nn/prediction.h"

#include "cuda/attack_step.h"

namespace hashgrad {

std::vector<int64_t> predictions_of(const Tensor& logits) {
  const Tensor z = logits.contiguous();
  const int64_t n = z.size(0);
  Tensor table = Tensor::empty({n, 4}, DType::float64, z.device());  // cpu::Reading of each row
  cpu::Reading* const readings = reinterpret_cast<cpu::Reading*>(table.data<double>());
  for_float_type(z.dtype(), "predictions_of", [&]<class T>() {
    const T* none = nullptr;
    HASHGRAD_ON(z.device(), read_rows(n, z.size(1), 0, z.data<T>(), none, none, readings));
  });
  const Tensor here = table.to(Device{});
  const cpu::Reading* row = reinterpret_cast<const cpu::Reading*>(here.data<double>());
  std::vector<int64_t> predictions;
  for (int64_t i = 0; i < n; ++i) predictions.push_back(static_cast<int64_t>(row[i].prediction));
  return predictions;
}

}  // namespace hashgrad
