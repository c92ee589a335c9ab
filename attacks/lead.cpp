#include "attacks/lead.h"

#include <algorithm>
#include <cmath>

#include "attacks/row_loops.h"

namespace hashgrad {
namespace {

std::vector<Lead> leads_of(const Tensor& values, const Tensor& logits, const Goal& goal) {
  const std::vector<int64_t> predictions = predictions_of(logits);
  const std::vector<double> lead = values.to(DType::float64).to_vector<double>();
  std::vector<Lead> result(predictions.size());
  for (size_t i = 0; i < result.size(); ++i)
    result[i] = {lead[i], goal.reached(static_cast<int64_t>(i), predictions[i]),
                 std::isfinite(lead[i]) && predictions[i] >= 0, false};
  return result;
}

}  // namespace

void validate_hinge(double kappa, double lr, const std::string& attack) {
  check(kappa >= 0 && kappa <= 1e30, "{}: kappa = {}, a number in [0, 1e30] expected", attack, kappa);
  check(lr > 0 && lr <= 1e30, "{}: lr = {}, a number in (0, 1e30] expected", attack, lr);
}

std::vector<Lead> leads(const Oracle& oracle, const Tensor& x, const Goal& goal) {
  const Tensor logits = oracle.exact_logits(x);
  return leads_of(Oracle::objective(logits, goal, "margin"), logits, goal);
}

LeadGradient lead_gradient(const Oracle& oracle, const Tensor& x, const Goal& goal) {
  LossGradient pass = oracle.ascent(x, goal, "margin");
  oracle.confirm(x, goal, "margin", pass);
  LeadGradient result{leads_of(pass.value, pass.logits, goal), pass.gradient.to(Device{})};
  for_float_type(x.dtype(), "attack", [&]<class T>() {
    for_rows(result.leads.size(), [&](size_t i) {
      const T *begin = row_data<T>(result.gradient, i), *end = row_data<T>(result.gradient, i + 1);
      Lead& lead = result.leads[i];
      lead.finite = lead.finite && std::all_of(begin, end, [](T g) { return std::isfinite(g); });
      lead.zero = std::all_of(begin, end, [](T g) { return g == 0; });
    });
  });
  return result;
}

Nearest::Nearest(const Oracle& oracle, const AttackInput& input, double kappa)
    : out_(input.x),
      best_(out_.status.size(), std::numeric_limits<double>::infinity()),
      candidates_(out_.status.size(), 0) {
  const std::vector<Lead> clean = leads(oracle, input.x, input.goal());
  for (size_t row = 0; row < clean.size(); ++row) {
    out_.forwards[row] = 1;
    if (clean[row].reached) out_.status[row] = Status::already_wrong, out_.first_success[row] = 0;
    if (!clean[row].by(kappa)) open_.push_back(static_cast<int64_t>(row));
  }
}

void Nearest::count(size_t row, int64_t forwards, int64_t backwards) {
  ++candidates_[row];
  out_.forwards[row] += forwards;
  out_.backwards[row] += backwards;
}

template <class T>
void Nearest::offer(size_t row, double distance, const T* image) {
  if (out_.first_success[row] < 0) out_.first_success[row] = candidates_[row];
  if (!(distance < best_[row])) return;
  best_[row] = distance;
  std::copy_n(image, out_.x_adv.numel() / out_.x_adv.size(0), row_data<T>(out_.x_adv, row));
}
template void Nearest::offer(size_t, double, const float*);
template void Nearest::offer(size_t, double, const double*);

void Nearest::end(size_t row, Status why) {
  if (out_.status[row] != Status::already_wrong) out_.status[row] = found(row) ? Status::ok : why;
}

}  // namespace hashgrad
