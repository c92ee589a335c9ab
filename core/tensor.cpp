#include "core/tensor.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/device_memory.h"

namespace hashgrad {
Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  Tensor t;
  t.storage_ = Storage(static_cast<size_t>(shape.numel()) * size_of(dtype), device);
  t.shape_ = shape;
  t.dtype_ = dtype;
  t.device_ = device;
  t.defined_ = true;
  t.set_strides(shape.row_major_strides());
  return t;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) { return full(shape, 0, dtype, device); }

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  t.fill(value);
  return t;
}

template <class T>
Tensor Tensor::of(const std::vector<T>& values, const Shape& shape) {
  check(static_cast<int64_t>(values.size()) == shape.numel(), "tensor: {} values given for shape {}",
        values.size(), shape);
  Tensor t = empty(shape, dtype_of<T>);
  std::copy(values.begin(), values.end(), t.data<T>());
  return t;
}

double Tensor::item() const {
  check(numel() == 1, "tensor: item() of shape {} with {} elements, exactly one expected", shape_, numel());
  const Tensor here = to(Device{});
  return for_any_type(dtype_, [&]<class T>() { return static_cast<double>(*here.data<T>()); });
}

template <class T>
std::vector<T> Tensor::to_vector() const {
  const Tensor t = to(Device{}).contiguous();
  return std::vector<T>(t.data<T>(), t.data<T>() + t.numel());
}

Tensor Tensor::permute(const std::vector<int>& axes) const {
  check(static_cast<int>(axes.size()) == rank(), "permute: {} axes given for shape {}", axes.size(), shape_);
  Shape sizes = shape_, strides = strides_;
  std::array<bool, Shape::max_rank> seen{};
  for (int i = 0; i < rank(); ++i) {
    const int axis = axes[static_cast<size_t>(i)];
    const size_t from = shape_.axis(axis);
    check(!seen[from], "permute: axis {} is named twice for shape {}", axis, shape_);
    seen[from] = true;
    sizes.set(i, shape_[axis]);
    strides.set(i, strides_[axis]);
  }
  Tensor t = *this;
  t.shape_ = sizes;
  t.set_strides(strides);
  return t;
}

Tensor Tensor::transpose(int a, int b) const {
  std::vector<int> axes(static_cast<size_t>(rank()));
  std::iota(axes.begin(), axes.end(), 0);
  std::swap(axes[shape_.axis(a)], axes[shape_.axis(b)]);
  return permute(axes);
}

Tensor Tensor::slice(int axis, int64_t begin, int64_t end) const {
  const int64_t n = shape_[axis];
  check(0 <= begin && begin <= end && end <= n, "slice: [{}, {}) is not within axis {} of {}", begin, end,
        axis, shape_);
  Tensor t = *this;
  t.offset_ += begin * strides_[axis];
  t.shape_.set(axis, end - begin);
  t.set_strides(strides_);
  return t;
}

Tensor Tensor::expand(const Shape& shape) const {
  const int extra = shape.rank() - rank();
  check(extra >= 0, "expand: {} has fewer axes than {}", shape, shape_);
  Shape strides = shape;
  for (int i = 0; i < shape.rank(); ++i) {
    const int64_t old = i < extra ? 1 : shape_[i - extra];
    check(old == shape[i] || old == 1, "expand: {} does not stretch to {}", shape_, shape);
    strides.set(i, i < extra || old != shape[i] ? 0 : strides_[i - extra]);
  }
  Tensor t = *this;
  t.shape_ = shape;
  t.set_strides(strides);
  return t;
}

Tensor Tensor::reshape(const Shape& shape) const {
  check(shape.numel() == numel(), "reshape: {} elements of {} do not fit {}", numel(), shape_, shape);
  Tensor t = contiguous();
  t.shape_ = shape;
  t.set_strides(shape.row_major_strides());
  return t;
}

Tensor Tensor::reshape(const std::vector<int64_t>& sizes) const {
  std::vector<int64_t> s = sizes;
  if (const auto rest = std::find(s.begin(), s.end(), -1); rest != s.end()) {
    *rest = 1;
    const int64_t known = Shape(s).numel();
    check(known > 0 && numel() % known == 0, "reshape: {} elements of {} do not divide by {}", numel(),
          shape_, known);
    *rest = numel() / known;
  }
  return reshape(Shape(s));
}

Tensor Tensor::contiguous() const { return contiguous_ ? *this : clone(); }

Tensor Tensor::clone() const {
  check(defined_, "tensor: clone() of an undefined tensor");
  Tensor t = empty(shape_, dtype_, device_);
  t.copy_from(*this);
  return t;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  Tensor t = empty(shape_, dtype, device_);
  t.copy_from(*this);
  return t;
}

Tensor Tensor::to(Device device) const {
  if (device == device_ || !defined_) return *this;
  Tensor t = empty(shape_, dtype_, device);
  t.copy_from(*this);
  return t;
}

void Tensor::copy_from(const Tensor& source) {
  check(shape_ == source.shape_, "copy: shape {} into shape {}", source.shape_, shape_);
  check(defined_ && source.defined_, "tensor: copy of an undefined tensor");
  if (device_ == source.device_)
    memory_of(device_).copy(shape_, layout(), source.layout());
  else
    copy_across(source);
}

/// Bytes cross between a device and the CPU as they are: what has to be converted or gathered is so on one of
/// the two sides. Two devices meet on the CPU.
void Tensor::copy_across(const Tensor& source) {
  constexpr Device cpu{};
  if (device_ != cpu && source.device_ != cpu) return copy_from(source.to(cpu));
  const Tensor from = source.to(dtype_).contiguous();
  if (!contiguous_) {
    Tensor own = empty(shape_, dtype_, device_);
    own.copy_across(from);
    return copy_from(own);
  }
  const size_t bytes = static_cast<size_t>(numel()) * size_of(dtype_);
  if (device_ == cpu)
    memory_of(from.device_).to_host(layout().data, from.layout().data, bytes);
  else
    memory_of(device_).from_host(layout().data, from.layout().data, bytes);
}

void Tensor::fill(double value) {
  check(defined_, "tensor: fill of an undefined tensor");
  memory_of(device_).fill(shape_, layout(), value);
}

Layout Tensor::layout() const {
  return {storage_.data() + offset_ * static_cast<int64_t>(size_of(dtype_)), dtype_, strides_};
}

void Tensor::check_type(DType wanted) const {
  check(defined_, "tensor: data of an undefined tensor");
  check(wanted == dtype_, "tensor: holds {}, {} was asked for", name_of(dtype_), name_of(wanted));
}

void Tensor::set_strides(const Shape& strides) {
  strides_ = strides;
  int64_t step = 1;
  contiguous_ = true;
  for (int i = rank() - 1; i >= 0; --i) {
    contiguous_ = contiguous_ && (shape_[i] <= 1 || strides_[i] == step);
    step *= shape_[i];
  }
  contiguous_ = contiguous_ || numel() == 0;
}

bool identical(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape() || a.dtype() != b.dtype()) return false;
  return for_any_type(a.dtype(), [&]<class T>() {
    const Tensor x = a.to(Device{}).contiguous(), y = b.to(Device{}).contiguous();
    return x.numel() == 0 ||
           std::memcmp(x.data<T>(), y.data<T>(), static_cast<size_t>(x.numel()) * sizeof(T)) == 0;
  });
}

template Tensor Tensor::of(const std::vector<float>&, const Shape&);
template Tensor Tensor::of(const std::vector<double>&, const Shape&);
template Tensor Tensor::of(const std::vector<int64_t>&, const Shape&);
template Tensor Tensor::of(const std::vector<uint8_t>&, const Shape&);
template std::vector<float> Tensor::to_vector() const;
template std::vector<double> Tensor::to_vector() const;
template std::vector<int64_t> Tensor::to_vector() const;
template std::vector<uint8_t> Tensor::to_vector() const;

}  // namespace hashgrad
