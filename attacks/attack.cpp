#include "attacks/attack.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "attacks/row_loops.h"
#include "core/math_mode.h"
#include "cpu/reduce.h"
#include "cuda/attack_step.h"
#include "nn/fixed_weights.h"
#include "nn/materialise.h"

namespace hashgrad {
namespace {

void check_classes(const Tensor& classes, const Shape& rows, int64_t k, const char* what,
                   const std::string& attack) {
  check(classes.defined(), "{}: {}s are undefined, int64 {} expected", attack, what, rows);
  check(classes.shape() == rows && classes.dtype() == DType::int64, "{}: {}s of {} {}, int64 {} expected",
        attack, what, name_of(classes.dtype()), classes.shape(), rows);
  for (int64_t i = 0; i < rows[0]; ++i) {
    const int64_t value = classes.data<int64_t>()[i];
    check(0 <= value && value < k, "{}: {} {} of row {} is not in [0, {})", attack, what, value, i, k);
  }
}

void check_images(const Tensor& images, const std::string& attack) {
  const Tensor x = images.to(Device{}).contiguous();
  for_float_type(x.dtype(), "attack", [&]<class T>() {
    const T *begin = x.data<T>(), *end = begin + x.numel();
    if (cpu::all_in_box(x.numel(), begin)) return;
    const T* bad = std::find_if_not(begin, end, [](T v) { return v >= 0 && v <= 1; });
    if (bad != end) fail("{}: pixel {} of row {} is not in [0,1]", attack, *bad, (bad - begin) / row_size(x));
  });
}

void check_weights(const Model& model, const std::string& attack) {
  for (const auto& [name, tensor] : model.state()) {
    if (!is_floating(tensor.dtype())) continue;
    const Tensor weights = tensor.to(Device{});
    const bool finite = for_float_type(weights.dtype(), "attack", [&]<class T>() {
      return cpu::all_finite(weights.numel(), weights.data<T>());
    });
    check(finite, "{}: weights {} of the model are not all finite", attack, name);
  }
}

Status ending(bool success, bool already_wrong, Status claimed) {
  if (already_wrong) return Status::already_wrong;
  if (success) return Status::ok;
  return claimed == Status::ok || claimed == Status::already_wrong ? Status::max_iter : claimed;
}

/// Per row whether its goal was reached before the attack. An ordinary model's answer stands since the attack
/// has asked; of a randomised one the attack has asked other draws than the judge's.
std::vector<bool> reached_before(const Oracle& judge, const AttackInput& input, const Crafted& crafted) {
  std::vector<bool> reached;
  if (!randomised(judge.model())) {
    for (const Status claimed : crafted.status) reached.push_back(claimed == Status::already_wrong);
    return reached;
  }
  const Goal goal = input.goal();
  for (const int64_t prediction : judge.predict(input.x))
    reached.push_back(goal.reached(std::ssize(reached), prediction));
  return reached;
}

/// While an attack runs, weights do not change: hashed ones are written out once, instead of being generated
/// in every pass. What it achieves is judged on the model itself. Nothing, for a model without hashed layers,
/// nor for a randomised one, of which each draw would be written out.
std::optional<Model> dense_twin(const Model& model) {
  const std::vector<LayerSpec>& layers = model.spec().layers;
  const bool hashed =
      std::any_of(layers.begin(), layers.end(), [](const LayerSpec& layer) { return layer.hashed(); });
  return hashed && !randomised(model) ? std::optional(materialise(model)) : std::nullopt;
}

Tensor numbers(const std::vector<int64_t>& values) {
  return Tensor::of(values, {static_cast<int64_t>(values.size())});
}

/// Row numbers below `limit` where a kernel can read them.
Tensor numbers_on(Device device, const std::vector<int64_t>& rows, int64_t limit, const char* op) {
  for (const int64_t row : rows) check(0 <= row && row < limit, "{}: row {} of {}", op, row, limit);
  return numbers(rows).to(device);
}

}  // namespace

AttackResult empty_result(const Tensor& x, int64_t n) {
  const auto column = [n](DType type) { return Tensor::empty({n}, type); };
  const DType real = DType::float64, whole = DType::int64;
  return {.x_adv = Tensor::empty(x.shape().without(0).with(0, n), x.dtype()),
          .success = column(DType::uint8),
          .first_success = column(whole),
          .l0 = column(real),
          .l1 = column(real),
          .l2 = column(real),
          .linf = column(real),
          .status = column(whole),
          .forwards = column(whole),
          .backwards = column(whole)};
}

std::map<std::string, Tensor> tensors_of(const AttackResult& r) {
  return {{"x_adv", r.x_adv},
          {"success", r.success},
          {"first_success", r.first_success},
          {"l0", r.l0},
          {"l1", r.l1},
          {"l2", r.l2},
          {"linf", r.linf},
          {"status", r.status},
          {"forwards", r.forwards},
          {"backwards", r.backwards}};
}

const char* name_of(Status status) {
  switch (status) {
    case Status::ok:
      return "ok";
    case Status::max_iter:
      return "max_iter";
    case Status::no_pair:
      return "no_pair";
    case Status::zero_grad:
      return "zero_grad";
    case Status::nan:
      return "nan";
    case Status::already_wrong:
      break;
  }
  return "already_wrong";
}

Crafted::Crafted(const Tensor& x)
    : x_adv(x.clone()),
      first_success(static_cast<size_t>(x.size(0)), -1),
      forwards(static_cast<size_t>(x.size(0)), 0),
      backwards(static_cast<size_t>(x.size(0)), 0),
      status(static_cast<size_t>(x.size(0)), Status::max_iter) {}

int64_t rows_per_image(const AttackInput& input) {
  const std::set<int64_t> images(input.samples.begin(), input.samples.end());
  return images.empty() ? 1 : std::ssize(input.samples) / std::ssize(images);
}

AttackResult Attack::run(const Model& model, const AttackInput& input, const OracleOptions& options) const {
  AttackInput rows = input;
  for (Tensor* t : {&rows.x, &rows.y, &rows.targets})
    if (t->defined()) *t = t->contiguous();
  for (Tensor* t : {&rows.y, &rows.targets}) *t = t->to(Device{});
  validate(model, rows, name());
  rows.x = rows.x.to(on_device() ? model.device() : Device{});
  if (rows.samples.empty()) {
    rows.samples.resize(static_cast<size_t>(rows.x.size(0)));
    std::iota(rows.samples.begin(), rows.samples.end(), 0);
  }
  const std::optional<Model> dense = dense_twin(model);
  OracleOptions asked = options;
  check(uses_gradients() || !options.stand_ins, "{}: asks for no gradients, stand-ins would change nothing",
        name());
  std::optional<Model> behind;
  if (options.surrogate) {
    check(uses_gradients(), "{}: asks for no gradients, a surrogate would change nothing", name());
    check_weights(*options.surrogate, name() + ": surrogate");
    behind = dense_twin(*options.surrogate);
    if (behind) asked.surrogate = &*behind;
  }
  const FixedWeights fixed({&model, dense ? &*dense : nullptr, asked.surrogate});
  const Oracle oracle(dense ? *dense : model, asked);
  Crafted crafted = craft(oracle, rows);
  for (std::vector<int64_t>* counts : {&crafted.forwards, &crafted.backwards})
    for (int64_t& passes : *counts) passes *= passes_per_count(oracle);
  return verify(Oracle::judge(model, oracle.options()), rows, crafted, threat(), name());
}

AttackResult verify(const Oracle& judge, const AttackInput& input, const Crafted& crafted,
                    const std::optional<Threat>& threat, const std::string& attack) {
  const MathScope exact(Math::fp32);
  const int64_t n = input.x.size(0);
  const Goal goal = input.goal();
  check(crafted.x_adv.shape() == input.x.shape() && crafted.x_adv.dtype() == input.x.dtype(),
        "{}: made {} {} of {} {}", attack, name_of(crafted.x_adv.dtype()), crafted.x_adv.shape(),
        name_of(input.x.dtype()), input.x.shape());
  const Tensor x_adv = crafted.x_adv.to(Device{});
  check_images(x_adv, attack + " left the box");
  const Distances far = distances(input.x, crafted.x_adv);
  AttackResult result{x_adv,
                      Tensor::zeros({n}, DType::uint8),
                      numbers(crafted.first_success),
                      far.l0,
                      far.l1,
                      far.l2,
                      far.linf,
                      Tensor::zeros({n}, DType::int64),
                      numbers(crafted.forwards),
                      numbers(crafted.backwards)};
  const std::vector<int64_t> predictions = judge.predict(crafted.x_adv);
  const std::vector<bool> before = reached_before(judge, input, crafted);
  for (int64_t i = 0; i < n; ++i) {
    if (threat) {
      const double distance = in_norm(result, threat->norm).data<double>()[i];
      check(distance <= threat->eps, "{} left the ball: row {} is at {} distance {} > {}", attack, i,
            name_of(threat->norm), distance, threat->eps);
    }
    const bool success = goal.reached(i, predictions[static_cast<size_t>(i)]);
    const bool already_wrong = success && before[static_cast<size_t>(i)];
    int64_t& first_success = result.first_success.data<int64_t>()[i];
    result.success.data<uint8_t>()[i] = success;
    if (!success) first_success = -1;
    if (already_wrong) first_success = 0;
    result.status.data<int64_t>()[i] =
        static_cast<int64_t>(ending(success, already_wrong, crafted.status[static_cast<size_t>(i)]));
  }
  return result;
}

void validate(const Model& model, const Tensor& x, const std::string& attack) {
  check(model.classes() >= 2, "{}: a model with {} classes has nothing to be mistaken for", attack,
        model.classes());
  const Shape& image = model.input_shape();
  check(x.defined() && x.rank() == 4 && x.shape().without(0) == image,
        "{}: images of shape {}, the model takes [N,{},{},{}]", attack, x.shape(), image[0], image[1],
        image[2]);
  check(x.dtype() == model.dtype(), "{}: images are {}, the model computes in {}", attack, name_of(x.dtype()),
        name_of(model.dtype()));
  check_images(x, attack);
  check_weights(model, attack);
}

void validate(const Model& model, const AttackInput& input, const std::string& attack) {
  validate(model, input.x, attack);
  const int64_t k = model.classes();
  const Shape rows{input.x.size(0)};
  check_classes(input.y, rows, k, "label", attack);
  if (input.targets.defined()) {
    check_classes(input.targets, rows, k, "target", attack);
    for (int64_t i = 0; i < rows[0]; ++i)
      check(input.targets.data<int64_t>()[i] != input.y.data<int64_t>()[i],
            "{}: target of row {} is its label {}", attack, i, input.y.data<int64_t>()[i]);
  }
  check(input.samples.empty() || static_cast<int64_t>(input.samples.size()) == rows[0],
        "{}: {} sample numbers for {} rows", attack, input.samples.size(), rows[0]);
  for (const int64_t s : input.samples)
    check(0 <= s && s < int64_t{1} << 48, "{}: sample number {} is not in [0, 2^48)", attack, s);
}

void validate_count(int64_t value, const char* name, const std::string& attack, int64_t most) {
  check(1 <= value && value <= most, "{}: {} = {}, 1 to {} expected", attack, name, value, most);
}

Tensor gather(const Tensor& source, const std::vector<int64_t>& rows) {
  const Tensor t = source.contiguous();
  const int64_t count = static_cast<int64_t>(rows.size());
  const Tensor from = numbers_on(t.device(), rows, t.size(0), "gather");
  Tensor result = Tensor::empty(t.shape().without(0).with(0, count), t.dtype(), t.device());
  for_any_type(t.dtype(), [&]<class T>() {
    HASHGRAD_ON(t.device(),
                copy_rows(count, row_size(t), nullptr, from.data<int64_t>(), t.data<T>(), result.data<T>()));
  });
  return result;
}

void scatter(Tensor& t, const std::vector<int64_t>& rows, const Tensor& values) {
  std::vector<int64_t> all(rows.size());
  std::iota(all.begin(), all.end(), 0);
  scatter(t, rows, values, all);
}

void scatter(Tensor& t, const std::vector<int64_t>& rows, const Tensor& from,
             const std::vector<int64_t>& from_rows) {
  check(t.is_contiguous() && from.is_contiguous(), "scatter: views are not accepted, use contiguous()");
  check(t.dtype() == from.dtype() && t.shape().without(0) == from.shape().without(0),
        "scatter: rows of {} {} into {} {}", name_of(from.dtype()), from.shape(), name_of(t.dtype()),
        t.shape());
  check(t.device() == from.device(), "scatter: one input is on {}, another on {}; move one with Tensor::to",
        to_string(t.device()), to_string(from.device()));
  check(rows.size() == from_rows.size(), "scatter: {} rows into {}", from_rows.size(), rows.size());
  const int64_t count = static_cast<int64_t>(rows.size());
  const Tensor to = numbers_on(t.device(), rows, t.size(0), "scatter"),
               source = numbers_on(t.device(), from_rows, from.size(0), "scatter");
  for_any_type(t.dtype(), [&]<class T>() {
    HASHGRAD_ON(t.device(), copy_rows(count, row_size(t), to.data<int64_t>(), source.data<int64_t>(),
                                      from.data<T>(), t.data<T>()));
  });
}

AttackInput gather(const AttackInput& input, const std::vector<int64_t>& rows) {
  const Goal goal = input.goal().rows(rows);
  AttackInput result{gather(input.x, rows), goal.labels, goal.targets, {}};
  for (const int64_t row : rows) result.samples.push_back(input.samples[static_cast<size_t>(row)]);
  return result;
}

std::vector<bool> zero_rows(const Tensor& t) { return readings_of({{}, {}, t}).zero; }

std::vector<bool> finite_rows(const Tensor& t) { return readings_of({{}, {}, t}).finite; }

}  // namespace hashgrad
