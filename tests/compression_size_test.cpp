#include <doctest/doctest.h>

#include "compression/fixed_point.h"
#include "compression/hash.h"
#include "compression/huffman.h"
#include "compression/kmeans.h"
#include "compression/prune.h"
#include "compression/size_report.h"
#include "core/file.h"
#include "nn/model_file.h"
#include "tests/attack_models.h"
#include "tests/train_testing.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

/// Bytes behind the header of the file that a model is saved to.
int64_t stored_bytes(const Model& model) {
  const TempDir folder;
  save_model(folder / "model", model);
  const std::string content = read_file(folder / "model");
  uint64_t header = 0;
  for (size_t i = 8; i-- > 0;) header = header << 8 | static_cast<uint8_t>(content[i]);
  CHECK(same_bits(load_model(folder / "model"), model));
  return std::ssize(content) - 8 - static_cast<int64_t>(header);
}

}  // namespace

TEST_CASE("a size report is the size of the file, whatever the coding") {
  Model model("1x6x6 conv4k3p1 bn relu maxpool2 flatten fc17 relu fc5", {.seed = 7});
  const std::vector<Model> models = [&] {
    std::vector<Model> all;
    all.push_back(model.clone());
    all.push_back(model.to(DType::float64));
    all.push_back(compress_hash(model, {.rate = 0.25, .hash = {.bias = true}}));
    all.push_back(compress_prune(model, {.value = 0.1}));
    all.push_back(compress_prune(model.to(DType::float64), {.value = 0.9}));
    all.push_back(compress_kmeans(model, {.bits = 3}));
    all.push_back(compress_kmeans(compress_prune(model, {.value = 0.2}), {.bits = 3}));
    all.push_back(compress_fixed_point(model, {.format = {5, 1}}));
    all.push_back(compress_fixed_point(compress_prune(model, {.value = 0.2}), {.format = {11, 2}}));
    all.push_back(compress_prune(all[2], {.value = 0.2}));
    return all;
  }();
  for (const Model& m : models) {
    const SizeReport report = size_report(m);
    CHECK(report.bytes == stored_bytes(m));
    CHECK(report.virtual_parameters == 36 + 4 + 4 + 4 + 612 + 17 + 85 + 5);
    CHECK(report.dense_bytes == size_report(m.dtype() == DType::float64 ? models[1] : model).bytes);
  }
}

TEST_CASE("sizes count virtual, real and stored") {
  const SizeReport dense = size_report(small_net());
  CHECK(dense.virtual_parameters == dense.real_parameters);
  CHECK(dense.real_parameters == 4 * 9 + 4 + 36 * 17 + 17 + 17 * 5 + 5);
  CHECK(dense.bytes == 4 * dense.real_parameters);
  CHECK_FALSE(dense.huffman_bytes.has_value());
  const SizeReport hashed = size_report(compress_hash(small_net(), {.rate = 0.25, .layers = "last:2"}));
  CHECK(hashed.virtual_parameters == dense.real_parameters);
  CHECK(hashed.real_parameters == 4 * 9 + 4 + 153 + 17 + 22 + 5);
  CHECK(hashed.layers[2].name == "4.weight");
  CHECK(hashed.layers[2].virtual_parameters == 612);
  CHECK(hashed.layers[2].real_parameters == 153);
  const LayerSize pruned = size_report(compress_prune(small_net(), {.value = 0.25})).layers[2];
  CHECK(pruned.real_parameters == 153);
  CHECK(pruned.bytes < 153 * 4 + 612 / 8 + 2);
  const LayerSize fixed = size_report(compress_fixed_point(small_net(), {.format = {5, 1}})).layers[2];
  CHECK(fixed.bytes == 4 + (612 * 5 + 7) / 8);
  CHECK(fixed.real_parameters == 612);
  const LayerSize shared = size_report(compress_kmeans(small_net(), {.bits = 4})).layers[2];
  CHECK(shared.bytes == 16 * 4 + 612 * 4 / 8);
  CHECK(shared.real_parameters == 16);
  CHECK(*shared.huffman_bytes <= shared.bytes + 16);
}

TEST_CASE("the memory that Liu et al. claim for hashed networks is not exceeded") {
  // About 20 % of the original for real weights and hash index together. Here the index is a seed in the
  // header, so what is stored is the bucket values and the plain biases, all in float32: 12.5 % and less.
  const Model dense("liu2018-mnist", {.init = Init::zeros});
  const int64_t original = size_report(dense).bytes;
  CHECK(original == 4 * 3'423'498);
  int64_t biases = 0;
  for (const LayerSize& size : size_report(dense).layers)
    if (size.name.ends_with("bias")) biases += size.real_parameters;
  const std::pair<double, int64_t> rates[] = {
      {1.0 / 8, 427'848}, {1.0 / 16, 213'924}, {1.0 / 32, 106'962}, {1.0 / 64, 53'481}};
  for (const auto& [rate, buckets] : rates) {
    const Model hashed = compress_hash(dense, {.rate = rate, .start = HashCompression::Start::scratch});
    const SizeReport size = size_report(hashed);
    CHECK(size.bytes == 4 * (buckets + biases));
    CHECK(static_cast<double>(size.bytes) < 0.2 * static_cast<double>(original));
  }
}

TEST_CASE("Huffman codes have the textbook's lengths") {
  // Cormen et al., fig. 16.3: a:45 b:13 c:12 d:16 e:9 f:5.
  CHECK(huffman_lengths({45, 13, 12, 16, 9, 5}) == std::vector<int>{1, 3, 3, 3, 4, 4});
  CHECK(huffman_bits({45, 13, 12, 16, 9, 5}) == 224);
  CHECK(huffman_lengths({8, 0, 4, 2, 1, 1}) == std::vector<int>{1, 0, 2, 3, 4, 4});
  CHECK(huffman_lengths({0, 5}) == std::vector<int>{0, 1});
  CHECK(huffman_bits({}) == 0);
  CHECK(huffman_bits({7}) == 7);
  CHECK(huffman_lengths({3, 3, 3, 3}) == std::vector<int>{2, 2, 2, 2});
}

TEST_CASE("a Huffman size covers the whole model, those parameters too that come before the shared ones") {
  // 1.weight: two values twice each, so that a bit tells them apart: 1 byte, 2 bytes of lengths, 2 floats.
  Model model("1x1x2 flatten fc2 relu fc2", {.init = Init::zeros});
  model.parameter("3.weight").value().copy_from(Tensor::of<float>({1, 2, 2, 1}, {2, 2}));
  const SizeReport size = size_report(compress_kmeans(model, {.bits = 1, .layers = "last:1"}));
  CHECK(size.huffman_bytes == 4 * 4 + 2 * 4 + (1 + 2 + 2 * 4) + 2 * 4);
  // A zero that the file does not leave out has a code as well: counts 2, 1, 1 make 2 + 2 + 2 bits.
  model.parameter("3.weight").value().copy_from(Tensor::of<float>({0, 0, 1, 2}, {2, 2}));
  const LayerSize zeros = size_report(compress_kmeans(model, {.bits = 2, .layers = "last:1"})).layers[2];
  REQUIRE(zeros.name == "3.weight");
  CHECK(*zeros.huffman_bytes == zeros.bytes - 1 + 1 + 3);
}
