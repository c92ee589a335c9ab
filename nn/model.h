// Model: a network built from its spec, with everything that a model file holds.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "autograd/ops/hashed.h"
#include "nn/coding.h"
#include "nn/init.h"
#include "nn/input_transform.h"
#include "nn/module.h"
#include "nn/spec.h"

namespace hashgrad {

/// The virtual weights of a hashed layer, and its virtual biases: null unless those are hashed too.
struct HashedMatrices {
  HashedMatrixPtr weights, bias;
};

struct ModelOptions {
  DType dtype = DType::float32;
  Init init = Init::pytorch;
  uint64_t seed = 0;  ///< of the initial values
  HashOptions hash{};
};

/// A network that takes images [N,C,H,W] with pixels in [0,1] to class scores [N,K]. Movable; clone() copies.
/// Forward passes change nothing (batch norm's running statistics in training excepted), so many threads may
/// share a model in inference. A randomised model (nn/randomised.h) has no forward pass, its realisations do.
class Model {
 public:
  /// Builds and initialises. `text` is a spec or the name of a network of the zoo (nn/models/zoo.h).
  explicit Model(const std::string& text, const ModelOptions& options = {});
  explicit Model(const Spec& spec, const ModelOptions& options = {});

  const Spec& spec() const { return spec_; }
  const HashOptions& hash() const { return hash_; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  const Shape& input_shape() const { return spec_.input; }  ///< [C,H,W]
  int64_t classes() const { return shapes_.back()[0]; }
  /// Shapes of one sample: [0] of an image, [i + 1] behind layer i.
  const std::vector<Shape>& shapes() const { return shapes_; }
  /// Of layer i, which must be hashed.
  HashedMatrices hashed_matrices(size_t i) const;

  /// Class scores before a final softmax, [N,K]. On a Variable the graph is recorded; with the default Pass
  /// (inference) it leads to the images, never to the parameters.
  Tensor logits(const Tensor& images, const Pass& pass = {}) const;
  Variable logits(const Variable& images, const Pass& pass = {}) const;
  /// softmax(logits), [N,K], whether or not the spec ends in softmax.
  Tensor probabilities(const Tensor& images, const Pass& pass = {}) const;
  Variable probabilities(const Variable& images, const Pass& pass = {}) const;
  /// Layers [begin, end) alone, no input transforms: what is behind layer end - 1 for the input of layer
  /// begin. With `fuse` unset every layer runs by itself; the bits are the same. An Error if a value that the
  /// spec names on one side of `begin` or `end` is used on the other.
  Tensor forward(const Tensor& x, const Pass& pass, size_t begin, size_t end, bool fuse = true) const;
  Variable forward(const Variable& x, const Pass& pass, size_t begin, size_t end, bool fuse = true) const;

  /// All parameters in layer order, named as a PyTorch state_dict names them: "0.weight", "0.bias", ..., or
  /// by the name that the spec gives their layer: "layer1.0.conv1.weight".
  std::vector<Parameter> parameters();
  /// Running statistics of batch norm: "1.running_mean", "1.running_var", "1.num_batches_tracked".
  std::vector<Buffer> buffers();
  /// The parameter of this name; an Error that lists the names when there is none.
  Variable& parameter(const std::string& name);
  /// The name of parameter `part` ("weight", "bias") of layer i.
  std::string parameter_name(size_t i, const std::string& part) const {
    return hashgrad::parameter_name(spec_, i, part);
  }
  /// What is done to images in front of layer 0, in this order. Their entries in metadata `defences` are kept
  /// by whoever adds them (defenses/input_transforms.h, nn/model_file.h).
  const std::vector<InputTransformPtr>& transforms() const { return transforms_; }
  /// A transform of your own too; a model with one that `defences` does not tell of cannot be saved. An Error
  /// if it does not apply to images of input_shape().
  void add_transform(InputTransformPtr transform);
  /// Takes over what belongs to no layer: metadata and input transforms.
  void inherit(const Model& from);
  int64_t parameter_count() const { return hashgrad::parameter_count(spec_, hash_); }
  /// Parameters and buffers by name; they share memory with the model.
  std::map<std::string, Tensor> state() const;
  void zero_grad();

  /// An independent copy, coding and metadata included; to() also converts, or puts the copy on a device.
  /// Numbers in fixed point remain so: codes above the largest that float32 holds become that one.
  /// Images must be where the model is.
  Model clone() const { return to(dtype_); }
  Model to(DType dtype) const;
  Model to(Device device) const;
  /// A model of its own that shares all tensors with this one. To change a parameter in one of the two alone,
  /// give it a new leaf there.
  Model alias() const;

  /// Which parameters are pruned, shared or quantised: what files and training make of their values. Its
  /// `activations` are part of the function: logits() and forward() round behind those layers, and the
  /// gradient passes straight through (autograd/ops/fixed_point.h).
  Coding coding{};

  /// Strings that travel in the model's file: how it was trained, compressed, defended. Keys that describe
  /// the network itself (spec, hash_seed, hash_mode, hash_bias, masks, quantisers) are written from the
  /// model.
  std::map<std::string, std::string> metadata{};

 private:
  template <TensorLike X>
  X logits_of(X images, const Pass& pass) const;
  template <TensorLike X>
  X run(X x, const Pass& pass, size_t begin, size_t end, bool fuse) const;
  template <TensorLike X>
  void check_images(const X& images) const;
  void check_cut(size_t at) const;
  size_t logits_end() const;
  template <class F>
  void for_modules(const F& f) const;  // f(layer, module)
  void move(Device device);

  Spec spec_;
  HashOptions hash_;
  DType dtype_;
  Device device_;
  std::vector<Shape> shapes_;
  std::map<std::string, LabelSpan> labels_;
  std::vector<InputTransformPtr> transforms_;
  std::vector<std::unique_ptr<Module>> layers_;  // null where the spec has a branch token
};

}  // namespace hashgrad
