// Batches of a dataset, prepared one step ahead of their use.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "datasets/augment.h"
#include "datasets/dataset.h"

namespace hashgrad {

struct Batch {
  Tensor images;                 ///< [B,C,H,W] float32 or float64
  Tensor labels;                 ///< [B] int64; undefined when the dataset is unlabelled
  std::vector<int64_t> indices;  ///< where in the dataset each row comes from
};

struct LoaderOptions {
  int64_t batch = 128;
  bool shuffle = true;     ///< the order is a function of (seed, epoch)
  bool drop_last = false;  ///< leave out a last batch that is not full
  DType dtype = DType::float32;
  uint64_t seed = 0;
  Augmentation augmentation;
  int64_t ahead = 2;  ///< batches that may be ready and waiting
};

/// One pass over the data. A thread of its own prepares the batches; destroying the Epoch, after the last
/// batch or before, ends it.
class Epoch {
 public:
  ~Epoch();
  Epoch(Epoch&&) noexcept;
  Epoch& operator=(Epoch&&) noexcept;

  /// The next batch, or nothing after the last. An error met while preparing is thrown here.
  std::optional<Batch> next();

 private:
  friend class Loader;
  struct State;
  explicit Epoch(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Cuts a dataset into batches:
///     Epoch epoch = loader.epoch(3);
///     while (std::optional<Batch> batch = epoch.next()) step(*batch);
class Loader {
 public:
  Loader(Dataset data, LoaderOptions options);

  /// Number of batches in one epoch.
  int64_t batches() const;
  /// The order in which epoch e visits the samples: a permutation of [0, N), or 0..N-1 without shuffle.
  std::vector<int64_t> order(int64_t epoch) const;
  /// Starts epoch e at batch `first_batch`, as a resumed run needs it.
  Epoch epoch(int64_t e, int64_t first_batch = 0) const;

  const Dataset& data() const { return data_; }
  const LoaderOptions& options() const { return options_; }

 private:
  Dataset data_;
  LoaderOptions options_;
};

}  // namespace hashgrad
