#include "autograd/ops/loss.h"

#include "autograd/op_info.h"
#include "cuda/loss.h"

namespace hashgrad {
namespace {

void check_logits(const char* op, const Tensor& logits, int64_t least_classes) {
  check(logits.rank() == 2 && logits.size(1) >= least_classes,
        "{}: logits of shape {}, [N,K] with K >= {} expected", op, logits.shape(), least_classes);
}

/// Labels on `device`; an Error unless they are int64 [rows] in [0, classes). Those that are on the CPU are
/// looked at there; a copy of more than 256 waits for the work before it (carried_bytes in cuda/runtime.h).
/// Those on a device cost a kernel more, and a wait for its answer, at every call. A loop that must not wait
/// computes cross_entropy_soft() with smoothed_one_hot_of_valid().
Tensor checked_labels(const char* op, const Tensor& labels, int64_t rows, int64_t classes, Device device) {
  check(labels.defined() && labels.dtype() == DType::int64 && labels.shape() == Shape{rows},
        "{}: labels are {} {}, int64 [{}] expected", op, name_of(labels.dtype()), labels.shape(), rows);
  const Tensor c = labels.contiguous();
  Tensor first = Tensor::empty({1}, DType::int64, c.device());
  HASHGRAD_ON(c.device(), find_bad_label(rows, classes, c.data<int64_t>(), first.data<int64_t>()));
  const int64_t bad = first.to_vector<int64_t>()[0];
  check(bad == rows, "{}: label {} of row {} is not in [0,{})", op,
        bad == rows ? 0 : c.to_vector<int64_t>()[static_cast<size_t>(bad)], bad, classes);
  return c.to(device);
}

/// dz [copies*N,K]: the rows of d [N,K], the gradient of each row's loss, times the cotangents dy [copies*N].
Tensor scale_rows(const Tensor& dy, const Tensor& d, int64_t copies) {
  const Tensor g = dy.contiguous();
  Tensor dz = Tensor::empty(stacked(d.shape(), copies), d.dtype(), d.device());
  for_float_type(d.dtype(), "loss", [&]<class T>() {
    HASHGRAD_ON(d.device(), scale_rows(d.size(0), d.size(1), copies, g.data<T>(), d.data<T>(), dz.data<T>()));
  });
  return dz;
}

/// Room for the gradient of each row's loss by its logits where it is wanted, and its address; else undefined
/// and null.
Tensor room_for_gradient(Needs needs, const Tensor& z) {
  return needs[0] ? Tensor::empty(z.shape(), z.dtype(), z.device()) : Tensor();
}
template <class T>
T* data_or_null(Tensor& t) {
  return t.defined() ? t.data<T>() : nullptr;
}

}  // namespace

Tensor smoothed_one_hot(const Tensor& labels, int64_t classes, double smoothing, DType dtype, Device device) {
  check(smoothing >= 0 && smoothing <= 1, "cross_entropy: smoothing {}, a number in [0,1] expected",
        smoothing);
  check(labels.rank() == 1, "cross_entropy: labels of shape {}, [N] expected", labels.shape());
  const Tensor y = checked_labels("cross_entropy", labels, labels.size(0), classes, device);
  return smoothed_one_hot_of_valid(y, classes, smoothing, dtype);
}

Tensor smoothed_one_hot_of_valid(const Tensor& labels, int64_t classes, double smoothing, DType dtype) {
  const int64_t n = labels.size(0);
  const Tensor y = labels.contiguous();
  Tensor t = Tensor::empty({n, classes}, dtype, y.device());
  for_float_type(dtype, "cross_entropy", [&]<class T>() {
    HASHGRAD_ON(y.device(), smoothed_one_hot(n, classes, smoothing, y.data<int64_t>(), t.data<T>()));
  });
  return t;
}

// loss_i = -sum_j t_ij log softmax(z_i)_j
Tensor CrossEntropy::forward(Needs needs, const Tensor& z) {
  check_logits(name, z, 1);
  check(targets.shape() == z.shape(), "cross_entropy: targets of shape {}, {} expected", targets.shape(),
        z.shape());
  const Tensor t = targets.to(z.device()).to(z.dtype()).contiguous(), c = z.contiguous();
  Tensor loss = Tensor::empty({z.size(0)}, z.dtype(), z.device());
  gradient = room_for_gradient(needs, z);
  for_float_type(z.dtype(), name, [&]<class T>() {
    HASHGRAD_ON(z.device(), cross_entropy(z.size(0), z.size(1), c.data<T>(), t.data<T>(), loss.data<T>(),
                                          data_or_null<T>(gradient)));
  });
  targets = {};
  return loss;
}

// dz_ij = dy_i * (softmax(z_i)_j * sum_k t_ik - t_ij)
Gradients<1> CrossEntropy::backward(Needs, const Tensor& dy, int64_t copies) const {
  return {scale_rows(dy, gradient, copies)};
}

// loss_i = log sum_{j != y} exp(z_j) - z_y
Tensor ExactCrossEntropy::forward(Needs needs, const Tensor& z) {
  check_logits(name, z, 2);
  const Tensor y = checked_labels(name, labels, z.size(0), z.size(1), z.device()), c = z.contiguous();
  Tensor loss = Tensor::empty({z.size(0)}, z.dtype(), z.device());
  gradient = room_for_gradient(needs, z);
  for_float_type(z.dtype(), name, [&]<class T>() {
    HASHGRAD_ON(z.device(), exact_cross_entropy(z.size(0), z.size(1), c.data<T>(), y.data<int64_t>(),
                                                loss.data<T>(), data_or_null<T>(gradient)));
  });
  labels = {};
  return loss;
}

// dz_j = dy * q_j for j != y, q = softmax over j != y;  dz_y = -dy
Gradients<1> ExactCrossEntropy::backward(Needs, const Tensor& dy, int64_t copies) const {
  return {scale_rows(dy, gradient, copies)};
}

namespace {

using cpu::LogitChoice;
using cpu::LogitLoss;

constexpr const char* loss_name(LogitLoss kind) {
  return kind == LogitLoss::margin ? "margin_loss" : kind == LogitLoss::dlr ? "dlr_loss" : "dlr_targeted";
}

}  // namespace

// loss = (z_plus - z_minus) / scale
Tensor LogitDifference::forward(Needs needs, const Tensor& z) {
  const char* const op = loss_name(kind);
  const bool targeted = kind == LogitLoss::dlr_targeted;
  check_logits(op, z, kind == LogitLoss::margin ? 2 : kind == LogitLoss::dlr ? 3 : 4);
  const int64_t n = z.size(0), classes = z.size(1);
  const Tensor y = checked_labels(op, labels, n, classes, z.device()), c = z.contiguous();
  const Tensor t =
      targeted ? checked_labels("dlr_targeted (targets)", targets, n, classes, z.device()) : Tensor();
  Tensor loss = Tensor::empty({n}, z.dtype(), z.device());
  if (needs[0]) choices = Storage(static_cast<size_t>(n) * sizeof(LogitChoice), z.device());
  for_float_type(z.dtype(), op, [&]<class T>() {
    HASHGRAD_ON(z.device(), logit_difference(kind, n, classes, c.data<T>(), y.data<int64_t>(),
                                             targeted ? t.data<int64_t>() : nullptr, loss.data<T>(),
                                             reinterpret_cast<LogitChoice*>(choices.data())));
  });
  if (needs[0]) logits = c;
  labels = targets = {};
  return loss;
}

Gradients<1> LogitDifference::backward(Needs, const Tensor& dy, int64_t copies) const {
  const Tensor g = dy.contiguous();
  Tensor dz = Tensor::empty(stacked(logits.shape(), copies), g.dtype(), g.device());
  for_float_type(g.dtype(), name, [&]<class T>() {
    HASHGRAD_ON(g.device(),
                logit_difference_backward(logits.size(0), logits.size(1), copies, logits.data<T>(),
                                          reinterpret_cast<const LogitChoice*>(choices.data()), g.data<T>(),
                                          dz.data<T>()));
  });
  return {dz};
}

namespace {

/// Labels that move through all classes.
Tensor cycling(const Variable& logits, int64_t first) {
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < logits.size(0); ++i) labels.push_back((i + first) % logits.size(1));
  return Tensor::of(labels, {logits.size(0)});
}

const std::vector<std::vector<Shape>> samples = {{{3, 5}}, {{17, 4}}, {{1, 33}}, {{0, 5}}};

const RegisterOp registered[] = {
    RegisterOp({"cross_entropy", "log(sum(exp(z))) - z_y",
                [](const std::vector<Variable>& in) { return cross_entropy(in[0], cycling(in[0], 0)); },
                samples}),
    RegisterOp({"cross_entropy_smoothed", "-sum(t * log_softmax(z)), t = 0.9 * onehot(y) + 0.1 / K",
                [](const std::vector<Variable>& in) { return cross_entropy(in[0], cycling(in[0], 1), 0.1); },
                samples}),
    RegisterOp({"cross_entropy_soft", "-sum(t * log_softmax(z))",
                [](const std::vector<Variable>& in) {
                  return cross_entropy_soft(
                      in[0], smoothed_one_hot(cycling(in[0], 2), in[0].size(1), 0.5, DType::float64));
                },
                samples}),
    RegisterOp({"exact_cross_entropy", "log(sum(exp(z_j), j != y)) - z_y",
                [](const std::vector<Variable>& in) { return exact_cross_entropy(in[0], cycling(in[0], 0)); },
                samples}),
    RegisterOp({"margin_loss", "z_y - max(z_j, j != y)",
                [](const std::vector<Variable>& in) { return margin_loss(in[0], cycling(in[0], 0)); },
                samples}),
    RegisterOp({"dlr_loss", "-(z_y - max(z_j, j != y)) / (z_(1) - z_(3))",
                [](const std::vector<Variable>& in) { return dlr_loss(in[0], cycling(in[0], 0)); }, samples}),
    RegisterOp({"dlr_targeted", "-(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2)",
                [](const std::vector<Variable>& in) {
                  return dlr_targeted(in[0], cycling(in[0], 0), cycling(in[0], 3));
                },
                samples})};

}  // namespace
}  // namespace hashgrad
