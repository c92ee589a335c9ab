#include "datasets/loader.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <numeric>
#include <thread>
#include <utility>

#include "core/error.h"
#include "core/random.h"
#include "datasets/pixels.h"

namespace hashgrad {
namespace {

/// Makes the batch of the samples in `indices`; runs on the preparing thread and uses no other.
Batch make_batch(const Dataset& data, const LoaderOptions& options, int64_t epoch,
                 std::vector<int64_t> indices) {
  const Shape shape = data.image_shape();
  const int64_t pixels = shape.numel(), n = static_cast<int64_t>(indices.size());
  Batch batch;
  batch.images = Tensor::empty(shape.with(0, n), options.dtype);
  for_float_type(options.dtype, "loader", [&]<class T>() {
    std::vector<T> original(options.augmentation.any() ? static_cast<size_t>(pixels) : 0);
    for (int64_t row = 0; row < n; ++row) {
      const int64_t sample = indices[static_cast<size_t>(row)];
      T* out = batch.images.data<T>() + row * pixels;
      copy_pixels(data.images, sample * pixels, (sample + 1) * pixels,
                  original.empty() ? out : original.data());
      if (!original.empty())
        cpu::augment(options.augmentation, options.seed, &epoch, 1, &sample, shape[0], shape[1], shape[2],
                     original.data(), out);
    }
  });
  if (data.labelled()) {
    batch.labels = Tensor::empty({n}, DType::int64);
    for (int64_t row = 0; row < n; ++row)
      batch.labels.data<int64_t>()[row] = data.labels.data<int64_t>()[indices[static_cast<size_t>(row)]];
  }
  batch.indices = std::move(indices);
  return batch;
}

}  // namespace

/// What the preparing thread and the consumer share. The thread comes last: it ends before the rest goes.
struct Epoch::State {
  State(const Loader& loader, int64_t e, int64_t first_batch)
      : data(loader.data()),
        options(loader.options()),
        epoch(e),
        order(loader.order(e)),
        batches(loader.batches()),
        thread([this, first_batch](const std::stop_token& stop) { prepare(stop, first_batch); }) {}

  void prepare(const std::stop_token& stop, int64_t first_batch) {
    std::exception_ptr failure;
    try {
      for (int64_t b = first_batch; b < batches; ++b) {
        const auto from = order.begin() + b * options.batch;
        const int64_t n = std::min(options.batch, order.end() - from);
        Batch batch = make_batch(data, options, epoch, {from, from + n});
        std::unique_lock lock(mutex);
        if (!changed.wait(lock, stop, [&] { return std::ssize(ready) < options.ahead; })) return;
        ready.push_back(std::move(batch));
        changed.notify_all();
      }
    } catch (...) {
      failure = std::current_exception();
    }
    const std::lock_guard lock(mutex);
    error = failure;
    finished = true;
    changed.notify_all();
  }

  const Dataset data;
  const LoaderOptions options;
  const int64_t epoch;
  const std::vector<int64_t> order;
  const int64_t batches;

  std::mutex mutex;
  std::condition_variable_any changed;
  std::deque<Batch> ready;
  std::exception_ptr error;
  bool finished = false;
  std::jthread thread;
};

Epoch::Epoch(std::unique_ptr<State> state) : state_(std::move(state)) {}
Epoch::~Epoch() = default;
Epoch::Epoch(Epoch&&) noexcept = default;
Epoch& Epoch::operator=(Epoch&&) noexcept = default;

std::optional<Batch> Epoch::next() {
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [&] { return !state_->ready.empty() || state_->finished; });
  if (state_->ready.empty()) {
    if (state_->error) std::rethrow_exception(state_->error);
    return std::nullopt;
  }
  Batch batch = std::move(state_->ready.front());
  state_->ready.pop_front();
  state_->changed.notify_all();
  return batch;
}

Loader::Loader(Dataset data, LoaderOptions options) : data_(std::move(data)), options_(options) {
  validate(data_, "loader");
  check(options_.batch >= 1, "loader: batch {} (at least 1 is expected)", options_.batch);
  check(options_.ahead >= 1, "loader: {} batches ahead (at least 1 is expected)", options_.ahead);
  check(is_floating(options_.dtype), "loader: batches are float32 or float64, not {}",
        name_of(options_.dtype));
  check(!options_.drop_last || options_.batch <= data_.size(),
        "loader: batch {} of {} samples leaves no full batch", options_.batch, data_.size());
}

int64_t Loader::batches() const {
  const int64_t n = data_.size(), b = options_.batch;
  return options_.drop_last ? n / b : (n - 1) / b + 1;  // there is a sample at least
}

std::vector<int64_t> Loader::order(int64_t epoch) const {
  std::vector<int64_t> order(static_cast<size_t>(data_.size()));
  std::iota(order.begin(), order.end(), int64_t{0});
  if (!options_.shuffle) return order;
  Random random(options_.seed, Stream::shuffle, 0, static_cast<uint32_t>(epoch));
  for (size_t i = order.size(); i > 1; --i)
    std::swap(order[i - 1], order[random.below(static_cast<uint32_t>(i))]);
  return order;
}

Epoch Loader::epoch(int64_t e, int64_t first_batch) const {
  check(e >= 0 && e < int64_t{1} << 32, "loader: epoch {} is not in [0, 2^32)", e);
  check(0 <= first_batch && first_batch <= batches(), "loader: batch {} asked for, an epoch has {}",
        first_batch, batches());
  return Epoch(std::make_unique<Epoch::State>(*this, e, first_batch));
}

}  // namespace hashgrad
