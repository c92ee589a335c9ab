#include "cuda/pipeline.h"
#include "cuda/tally.h"
#include "tests/cuda_testing.h"
#include "tests/error_of.h"

using namespace hashgrad;
using namespace hashgrad::cuda_testing;

namespace {

/// After steps with these mean losses, each of `rows` samples.
template <class T>
cpu::Tally tally_of(Device device, int64_t rows, const std::vector<T>& losses) {
  cpu::Tally tally{.loss = 0.5, .correct = 1000};
  const Storage sums(sizeof(tally), device);
  auto* const bytes = reinterpret_cast<std::byte*>(&tally);
  memory_of(device).from_host(sums.data(), bytes, sizeof(tally));
  const Tensor wanted = labels(rows, 3).to(device), given = labels(rows, 4).to(device);
  for (size_t i = 0; i < losses.size(); ++i) {
    const Tensor loss = Tensor::of<T>({losses[i]}, {}).to(device);
    const Tensor step = Tensor::of<int64_t>({static_cast<int64_t>(10 + i)}, {}).to(device);
    HASHGRAD_ON(device, add_step(rows, loss.data<T>(), given.data<int64_t>(), wanted.data<int64_t>(),
                                 step.data<int64_t>(), reinterpret_cast<cpu::Tally*>(sums.data())));
  }
  memory_of(device).to_host(bytes, sums.data(), sizeof(tally));
  return tally;
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: a device counts loss, hits and the first bad step as the CPU does", T, float,
                   double) {
  const T infinity = std::numeric_limits<T>::infinity();
  const cpu::Tally fine = tally_of<T>({}, 5, {T{0.25}, T{2}}), bad = tally_of<T>({}, 5, {1, -infinity, NAN});
  CHECK(fine.loss == 0.5 + 5 * 0.25 + 5 * 2);
  CHECK(fine.correct == 1000 + 2 * 2);  // rows 0 and 2
  CHECK(fine.bad_step == -1);
  CHECK(bad.bad_step == 11);
  CHECK(bad.bad_loss == -INFINITY);
  for (const Device device : other_devices()) {
    for (const int64_t rows : edges) {
      const cpu::Tally a = tally_of<T>({}, rows, {T{0.25}, T{2}}),
                       b = tally_of<T>(device, rows, {T{0.25}, T{2}});
      CHECK(a.loss == b.loss);
      CHECK(a.correct == b.correct);
      CHECK(b.bad_step == -1);
    }
    const cpu::Tally there = tally_of<T>(device, 5, {1, -infinity, NAN});
    CHECK(there.bad_step == 11);
    CHECK(there.bad_loss == -INFINITY);
  }
}

TEST_CASE("cuda: a pipeline uploads, and runs what it recorded as often as asked") {
  for (const Device device : other_devices()) {
    std::unique_ptr<Pipeline> pipeline;
    HASHGRAD_ON(device, make_pipeline(pipeline));
    Tensor x, y = Tensor::zeros({3}, DType::float32, device);
    pipeline->upload([&] { x = Tensor::of<float>({1, 2, 3}, {3}).to(device); });
    const std::function<void()> run = pipeline->record([&] { y.copy_from(x); });
    CHECK(y.to_vector<float>() == std::vector<float>{0, 0, 0});
    run();
    CHECK(y.to_vector<float>() == std::vector<float>{1, 2, 3});
    x.fill(7);
    run();
    CHECK(y.to_vector<float>() == std::vector<float>{7, 7, 7});
    CHECK_ERROR(pipeline->record([&] { y.to_vector<float>(); }), "copy_to_host cannot be part of a graph");
    CHECK_ERROR(pipeline->record([&] { Tensor::of<float>({1}, {1}).to(device); }),
                "copy_to_device cannot be part of a graph");
  }
}
