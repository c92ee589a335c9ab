// Tensor: an n-dimensional array. Data only; what can be differentiated is a Variable (autograd/variable.h).
#pragma once

#include <initializer_list>
#include <vector>

#include "core/device.h"
#include "core/dtype.h"
#include "core/shape.h"
#include "core/storage.h"

namespace hashgrad {

struct Layout;  // core/device_memory.h

/// A row-major array of one element type on one device. Copying a Tensor shares its memory (clone() does
/// not), and a view (transpose, slice, expand) shares it with other strides. Ops accept views and return
/// contiguous tensors.
class Tensor {
 public:
  /// An undefined tensor; defined() is false and every other query but that is an Error or zero.
  Tensor() = default;

  static Tensor empty(const Shape& shape, DType dtype = DType::float32, Device device = {});
  static Tensor zeros(const Shape& shape, DType dtype = DType::float32, Device device = {});
  static Tensor full(const Shape& shape, double value, DType dtype = DType::float32, Device device = {});
  /// Copies `values`; their number must be shape.numel().
  template <class T>
  static Tensor of(const std::vector<T>& values, const Shape& shape);
  /// A scalar, shape [].
  static Tensor scalar(double value, DType dtype = DType::float32) { return full({}, value, dtype); }

  bool defined() const { return defined_; }
  const Shape& shape() const { return shape_; }
  const Shape& strides() const { return strides_; }
  int rank() const { return shape_.rank(); }
  int64_t size(int axis) const { return shape_[axis]; }
  int64_t numel() const { return defined_ ? shape_.numel() : 0; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  bool is_contiguous() const { return contiguous_; }
  /// Whether another tensor holds the same memory, a view or a copy of this one.
  bool is_shared() const { return storage_.shared(); }

  /// Address of the first element, in the memory of device(): only kernels of that device may follow it. An
  /// Error if T is not the element type.
  template <class T>
  T* data() {
    check_type(dtype_of<T>);
    return reinterpret_cast<T*>(storage_.data()) + offset_;
  }
  template <class T>
  const T* data() const {
    return const_cast<Tensor*>(this)->data<T>();
  }
  /// The only element, as double; from another device it is copied.
  double item() const;
  /// All elements in row-major order (copies; of a view too, and from any device).
  template <class T>
  std::vector<T> to_vector() const;

  // Views: no element moves.
  Tensor transpose(int a, int b) const;
  Tensor permute(const std::vector<int>& axes) const;
  /// Elements [begin, end) of one axis.
  Tensor slice(int axis, int64_t begin, int64_t end) const;
  /// Stretches axes of size 1, and adds leading axes, by stride 0.
  Tensor expand(const Shape& shape) const;
  /// Same elements in row-major order under another shape; one size may be -1. A view when contiguous, else a
  /// copy.
  Tensor reshape(const std::vector<int64_t>& sizes) const;
  Tensor reshape(std::initializer_list<int64_t> sizes) const { return reshape(std::vector<int64_t>(sizes)); }
  Tensor reshape(const Shape& shape) const;

  // Copies.
  Tensor contiguous() const;
  Tensor clone() const;
  /// Converts elements; the same tensor when there is nothing to convert.
  Tensor to(DType dtype) const;
  /// Moves to another device; the same tensor when it is there (or undefined).
  Tensor to(Device device) const;

  /// Overwrites all elements with those of `source` (same shape; converted; from any device), through this
  /// view.
  void copy_from(const Tensor& source);
  void fill(double value);

 private:
  void check_type(DType wanted) const;
  void copy_across(const Tensor& source);
  Layout layout() const;
  void set_strides(const Shape& strides);

  Storage storage_;
  Shape shape_, strides_;
  int64_t offset_ = 0;
  DType dtype_ = DType::float32;
  Device device_;
  bool defined_ = false;
  bool contiguous_ = true;
};

/// True when both have the same shape, element type and bits (NaN equals NaN of the same bits), on whatever
/// device.
bool identical(const Tensor& a, const Tensor& b);

}  // namespace hashgrad
