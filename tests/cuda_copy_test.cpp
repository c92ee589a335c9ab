
#include "tests/cuda_testing.h"
#include "tests/error_of.h"

using namespace hashgrad;
using namespace hashgrad::cuda_testing;

namespace {

constexpr DType all_types[] = {DType::float32, DType::float64, DType::int64, DType::uint8};

/// Whole numbers from 0 to 250, which every element type holds.
Tensor whole_numbers(const Shape& shape, DType type) {
  Tensor t = Tensor::empty(shape);
  for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = static_cast<float>(i * 37 % 251);
  return t.to(type);
}

}  // namespace

TEST_CASE("cuda: every conversion of every view arrives as on the CPU") {
  const Tensor (*views[])(const Tensor&) = {
      [](const Tensor& x) -> const Tensor { return x; },
      [](const Tensor& x) -> const Tensor { return x.transpose(0, 2); },
      [](const Tensor& x) -> const Tensor { return x.slice(1, 2, 14); },
      [](const Tensor& x) -> const Tensor {
        return x.permute({1, 2, 0});
      },
      [](const Tensor& x) -> const Tensor {
        return x.slice(0, 1, 2).expand({4, 17, 5});
      },
      [](const Tensor& x) -> const Tensor { return x.slice(2, 3, 3); },
  };
  for (const Device device : other_devices())
    for (const DType from : all_types) {
      const Tensor here = whole_numbers({3, 17, 5}, from), there = here.to(device);
      for (const auto& view : views)
        for (const DType to : all_types) {
          CAPTURE(name_of(from));
          CAPTURE(name_of(to));
          CHECK(identical(view(there).to(to), view(here).to(to)));
          CHECK(identical(view(there).clone(), view(here)));
        }
    }
}

TEST_CASE("cuda: a copy and a fill write through a view, and nothing beside it") {
  for (const Device device : other_devices())
    for (const DType type : all_types) {
      CAPTURE(name_of(type));
      const Tensor source = whole_numbers({2, 3, 2, 2, 2, 2, 1, 5}, DType::float64);
      const auto written = [&](Device d) {
        Tensor t = Tensor::full({5, 3, 2, 2, 2, 2, 3, 2}, 9, type, d);
        Tensor part =
            t.slice(6, 1, 2).permute({7, 1, 2, 3, 4, 5, 6, 0});  // [2,3,2,2,2,2,1,5], nothing in order
        part.copy_from(source.to(d));
        part.slice(1, 1, 2).fill(200);
        return t;
      };
      CHECK(identical(written(device), written(Device{})));
    }
}

TEST_CASE("cuda: a fill writes every element, zero and minus zero included") {
  for (const Device device : other_devices())
    for (const DType type : all_types)
      for (const int64_t n : edges)
        for (const double value : {0.0, 3.0, -0.0}) {
          CAPTURE(n);
          CHECK(identical(Tensor::full({n}, value, type, device), Tensor::full({n}, value, type)));
        }
}

TEST_CASE("cuda: NaNs, infinities and denormals are copied bit by bit and converted as by a cast") {
  for (const Device device : other_devices()) {
    const Tensor x = awkward_values<float>({3, 33}, 1), w = awkward_values<double>({3, 33}, 1);
    CHECK(identical(x.to(device).transpose(0, 1), x.transpose(0, 1)));
    CHECK(identical(w.to(device).transpose(0, 1), w.transpose(0, 1)));
    const std::vector<float> there = w.to(device).to(DType::float32).to_vector<float>(),
                             here = w.to(DType::float32).to_vector<float>();
    CHECK(relative_error(there, here, 0) == 0);
  }
}

TEST_CASE("cuda: what is not there is refused by name") {
  for (const Device::Kind kind : {Device::Kind::cuda, Device::Kind::emu}) {
    const std::string why = why_unavailable({kind});
    if (why == "it is not in this build")
      CHECK_ERROR(Tensor::zeros({2}, DType::float32, {kind}), "is not in this build");
    else if (!why.empty())
      CHECK_ERROR(Tensor::zeros({2}, DType::float32, {kind}), "cuda: allocate: ");
  }
}
