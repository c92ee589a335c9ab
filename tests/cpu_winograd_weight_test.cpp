#include <algorithm>
#include <thread>

#include "cpu/scratch.h"
#include "cpu/winograd.h"
#include "tests/cpu_winograd_testing.h"

namespace {

using namespace hashgrad;
using namespace hashgrad::cpu_testing;

// As few tiles as go this way, all paddings, one tile an image, channels that do not fill panels, units of
// images that do not divide the batch, images of more tiles than are multiplied at a time, one place at a
// time, and a task for some of the output channels alone.
const Conv2dShape shapes[] = {{1, 32, 16, 16, 32, 3, 3, 1, 1},  {2, 33, 12, 10, 35, 3, 3, 1, 2},
                              {5, 40, 10, 12, 33, 3, 3, 1, 0},  {70, 32, 2, 2, 37, 3, 3, 1, 1},
                              {37, 129, 4, 4, 130, 3, 3, 1, 1}, {2, 32, 36, 38, 32, 3, 3, 1, 1},
                              {43, 65, 8, 6, 64, 3, 3, 1, 1},   {16, 272, 4, 4, 500, 3, 3, 1, 1}};

// More of a chunk of the batch than is prepared at once.
const Conv2dShape long_chunks{40, 32, 28, 28, 33, 3, 3, 1, 1};

struct Gradients {
  std::vector<float> weight, bias;
};

Gradients gradients(const Conv2dShape& s, const std::vector<float>& x,
                    const cpu::Conv2dGradient<float>& gradient) {
  Gradients g{poisoned<float>(s.out_channels * s.depth()), poisoned<float>(s.out_channels)};
  cpu::conv2d_backward_weight(s, x.data(), gradient, g.weight.data(), g.bias.data());
  return g;
}

bool same_bits(const Gradients& a, const Gradients& b) {
  return cpu_testing::same_bits(a.weight, b.weight) && cpu_testing::same_bits(a.bias, b.bias);
}

/// Errors of the weight gradients against float64, which goes the direct way, relative to the largest one.
template <class Check>
void compare(const Conv2dShape& s, const Check& check) {
  CAPTURE(named(s));
  const Data<float> d(s);
  const Data<double> exact = [&] {
    Data<double> e(s);
    e.x.assign(d.x.begin(), d.x.end());
    e.dy.assign(d.dy.begin(), d.dy.end());
    return e;
  }();
  std::vector<double> weight(d.weight.size()), bias(d.bias.size());
  cpu::conv2d_backward_weight<double>(s, exact.x.data(), {exact.dy.data()}, weight.data(), bias.data());
  for_each_isa([&] {
    if (!cpu::winograd_weight_fits(s, math_mode() == Math::bf16)) return;
    const Gradients got = gradients(s, d.x, {d.dy.data()});
    CHECK(distance(got.bias, bias) <= tolerance<float>(s.batch * s.out_pixels()));
    check(distance(got.weight, weight));
  });
}

TEST_CASE("Winograd's weight gradient agrees with float64, which goes the direct way") {
  for (const Conv2dShape& s : shapes) {
    REQUIRE(cpu::winograd_weight_fits(s, 0));
    compare(s, [&](double error) { CHECK(error <= tolerance<float>(s.batch * s.out_pixels())); });
  }
  compare(long_chunks, [](double error) { CHECK(error <= tolerance<float>(40 * 28 * 28)); });
}

TEST_CASE("in bf16 Winograd's weight gradient is off by the rounding of transformed operands") {
  const MathScope bf16(Math::bf16);
  for (const Conv2dShape& s : shapes)
    compare(s, [&](double error) {
      const double typical = 0x1p-9 * std::sqrt(static_cast<double>(s.batch * s.out_pixels()));
      CHECK(error < 5 * typical);
      CHECK(error > typical);  // of no more than bf16
    });
}

TEST_CASE("the weight gradient goes Winograd's way by the shape of the layer and the tiles of the batch") {
  const Conv2dShape s{4, 32, 8, 8, 32, 3, 3, 1, 1};  // 64 tiles
  const auto fits = [](Conv2dShape changed) { return cpu::winograd_weight_fits(changed, 0); };
  CHECK(fits(s));
  CHECK(!fits({3, 32, 8, 8, 32, 3, 3, 1, 1}));
  CHECK(!fits({4, 31, 8, 8, 32, 3, 3, 1, 1}));
  CHECK(!fits({4, 32, 8, 8, 31, 3, 3, 1, 1}));
  CHECK(!fits({4, 32, 9, 8, 32, 3, 3, 1, 1}));
  CHECK(!fits({4, 32, 8, 9, 32, 3, 3, 1, 1}));
  CHECK(!fits({4, 32, 16, 16, 32, 3, 3, 2, 1}));
  CHECK(!fits({4, 32, 8, 8, 32, 5, 5, 1, 2}));
  CHECK(!fits({4, 32, 8, 8, 32, 3, 5, 1, 1}));
  for_each_isa([&] {
    CHECK(cpu::winograd_weight_fits(s, 1) == (cpu::isa() == cpu::Isa::avx512bf16));
    CHECK(!cpu::winograd_weight_fits(s, 2));
    CHECK(!cpu::winograd_weight_fits(s, 3));
  });
}

TEST_CASE("Winograd's weight gradient counts what a ReLU behind the convolution lets through") {
  for (const Conv2dShape& s : {shapes[1], shapes[3], shapes[4]})
    for_each_arithmetic([&] {
      CAPTURE(named(s));
      const Data<float> d(s);
      const auto output = random_values<float>(s.batch * output_size(s), 9);
      std::vector<float> gated = d.dy;
      for (size_t i = 0; i < gated.size(); ++i) gated[i] = output[i] > 0 ? gated[i] : 0.0f;
      CHECK(same_bits(gradients(s, d.x, {d.dy.data(), output.data()}), gradients(s, d.x, {gated.data()})));
    });
}

TEST_CASE("either of Winograd's gradients of weights and biases may be left out") {
  const Conv2dShape& s = shapes[1];
  const Data<float> d(s);
  for_each_arithmetic([&] {
    const Gradients both = gradients(s, d.x, {d.dy.data()});
    Gradients apart{poisoned<float>(s.out_channels * s.depth()), poisoned<float>(s.out_channels)};
    cpu::conv2d_backward_weight<float>(s, d.x.data(), {d.dy.data()}, apart.weight.data(), nullptr);
    cpu::conv2d_backward_weight<float>(s, d.x.data(), {d.dy.data()}, nullptr, apart.bias.data());
    CHECK(same_bits(both, apart));
  });
}

/// Fills blocks of working memory with NaNs, which this thread's next ones are then taken from.
void poison_scratch(int blocks) {
  constexpr int64_t more_than_any = int64_t{1} << 22;
  const cpu::Scratch<float> block(more_than_any);
  std::fill_n(block.data(), more_than_any, std::numeric_limits<float>::quiet_NaN());
  if (blocks > 1) poison_scratch(blocks - 1);
}

/// What compute() returns on a thread that has no other working memory.
template <class Compute>
auto in_poisoned_memory(const Compute& compute) {
  decltype(compute()) result;
  std::thread([&, math = math_mode()] {
    const MathScope scope(math);
    poison_scratch(6);
    result = compute();
  }).join();
  return result;
}

TEST_CASE("Winograd's weight gradient has the same bits on any threads and in any memory") {
  for (const Conv2dShape& s : {shapes[3], shapes[4], shapes[5], shapes[6], long_chunks})
    for_each_arithmetic([&] {
      CAPTURE(named(s));
      const Data<float> d(s);
      const auto compute = [&] { return gradients(s, d.x, {d.dy.data()}); };
      check_threads([&] { return compute().weight; });
      CHECK(same_bits(in_poisoned_memory(compute), compute()));
    });
}

TEST_CASE("Winograd's weight gradient has the same bits on all machines that multiply and add at once") {
  for (const Conv2dShape& s : shapes) {
    CAPTURE(named(s));
    const Data<float> d(s);
    std::vector<Gradients> results;
    for_each_isa([&] {
      if (cpu::isa() != cpu::Isa::plain) results.push_back(gradients(s, d.x, {d.dy.data()}));
    });
    for (const Gradients& other : results) CHECK(same_bits(other, results.front()));
  }
}

}  // namespace
