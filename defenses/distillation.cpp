#include "defenses/distillation.h"

#include <nlohmann/json.hpp>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/softmax.h"
#include "defenses/record.h"

namespace hashgrad {
namespace {

void check_temperature(double temperature) {
  check(temperature >= 1 && temperature <= 1e6, "distill: temperature = {}, a number in [1, 1e6] expected",
        temperature);
}

}  // namespace

Tensor soft_labels(const Model& teacher, const Tensor& images, double temperature) {
  check_temperature(temperature);
  return softmax(teacher.logits(images) / temperature);
}

void distil_from(const Model& teacher, double temperature, TrainOptions& options) {
  check_temperature(temperature);
  options.temperature = temperature;
  options.method = "distill";
  options.teach = [&teacher, temperature](Lesson& lesson) {
    lesson.targets = soft_labels(teacher, lesson.images, temperature);
  };
}

void record_distillation(Model& student, double temperature) {
  check_temperature(temperature);
  record_defence(student, {{"method", "distill"}, {"temperature", temperature}});
}

}  // namespace hashgrad
