#include "nn/weight_codec.h"

#include <cmath>
#include <doctest/doctest.h>

#include "core/random.h"
#include "nn/bit_stream.h"
#include "nn/model.h"
#include "tests/error_of.h"

using namespace hashgrad;

namespace {

using Bytes = std::vector<uint8_t>;

Tensor floats(const std::vector<float>& values) { return Tensor::of(values, {std::ssize(values)}); }
Tensor bytes(const Bytes& values) { return Tensor::of(values, {std::ssize(values)}); }

Archive archive_of_parts(const Tensor& values, const ParameterCoding& coding) {
  Archive archive;
  for (const auto& [suffix, part] : encode_parameter(values, coding, "p"))
    archive.tensors["p" + suffix] = part;
  return archive;
}

/// Encodes, decodes, compares bits; returns the encoded tensors.
Archive round_trip(const Tensor& values, const ParameterCoding& coding) {
  const Archive archive = archive_of_parts(values, coding);
  CHECK(identical(decode_parameter(archive, "p", values.shape(), values.dtype(), coding, "f"), values));
  CHECK(tensors_of_parameter(archive, "p", coding).size() == archive.tensors.size());
  return archive;
}

std::string fault(const Archive& archive, int64_t size, const ParameterCoding& coding) {
  return testing::error_of([&] { decode_parameter(archive, "p", {size}, DType::float32, coding, "f"); });
}

ParameterCoding fixed(int width, int point) { return {.fixed_point = FixedPointFormat{width, point}}; }
constexpr ParameterCoding pruned{.pruned = true};

/// n weights of which about a share `density` is not zero.
Tensor sparse(int64_t n, double density, uint64_t seed) {
  Random random(seed, Stream::test);
  Tensor t = Tensor::zeros({n});
  for (int64_t i = 0; i < n; ++i)
    if (random.uniform() < density) t.data<float>()[i] = static_cast<float>(random.uniform() + 0.01);
  return t;
}

}  // namespace

TEST_CASE("bits are written lowest first") {
  BitWriter writer;
  for (const uint32_t value : {5u, 2u, 7u})
    writer.put(value, 3);  // 101, 010, 111 from the low end: 1 11010101
  CHECK(writer.finish(0) == Bytes{0b11010101, 0b1});
  BitWriter wide;
  wide.put(0xDEADBEEF, 32);
  wide.put(1, 1);
  CHECK(wide.finish(1) == Bytes{0xEF, 0xBE, 0xAD, 0xDE, 0xFF});
  const Bytes stored{0b11010101, 0b1};
  BitReader reader(stored.data(), 2);
  CHECK(reader.get(3) == 5);
  CHECK(reader.get(3) == 2);
  CHECK(reader.get(3) == 7);
  CHECK(reader.left() == 7);
}

TEST_CASE("gaps of a pruned parameter, by hand") {
  // One value behind 4 zeros, one behind 5: with 3 bits 100 101 and ones behind, with 1 bit 1111 0 11111 0.
  const Tensor values = floats({0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0});
  const Archive archive = round_trip(values, pruned);
  CHECK(archive.tensors.at("p.gaps").to_vector<uint8_t>() == Bytes{3, 0b11101100});
  CHECK(archive.tensors.at("p.values").to_vector<float>() == std::vector<float>{7, 8});
  // Every other value: one bit per element up to the last value, a bitmap.
  const Archive dense = round_trip(floats({1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 0, 0, 0, 0}), pruned);
  CHECK(dense.tensors.at("p.gaps").to_vector<uint8_t>() == Bytes{1, 0b10101010, 0b11111110});
  // The widest number: one value behind 50,000 = 0xC350 zeros.
  std::vector<float> lonely(60'000);
  lonely[50'000] = 1;
  CHECK(round_trip(floats(lonely), pruned).tensors.at("p.gaps").to_vector<uint8_t>() ==
        Bytes{16, 0x50, 0xC3});
  // A gap of 3 with 2 bits is the escape 11 and the gap 0: 11 00; decoding is by the width that is written.
  Archive escaped;
  escaped.tensors = {{"p.gaps", bytes({2, 0b11110011})}, {"p.values", floats({9})}};
  CHECK(identical(decode_parameter(escaped, "p", {5}, DType::float32, pruned, "f"), floats({0, 0, 0, 9, 0})));
}

TEST_CASE("a pruned parameter of any density comes back, and takes the fewest bytes") {
  for (const double density : {0.0, 0.001, 0.02, 0.1, 0.5, 0.9, 1.0}) {
    CAPTURE(density);
    const Tensor values = sparse(5000, density, 3);
    const Archive archive = round_trip(values, pruned);
    int64_t size = 0, kept = 0;
    for (const auto& [name, part] : archive.tensors)
      size += part.numel() * static_cast<int64_t>(size_of(part.dtype()));
    for (const float w : values.to_vector<float>()) kept += w != 0;
    CHECK(size <= 4 * kept + 1 + 5000 / 8 + 1);  // never worse than a bitmap
    CHECK(size <= 4 * 5000);                     // nor than the plain weights
    if (density == 0.02) CHECK(size <= 4 * kept + 1 + kept * 8 / 8 + 8);
    if (density == 1.0) CHECK(archive.tensors.contains("p"));
  }
}

TEST_CASE("-0 is a value of its own: it keeps its sign") {
  round_trip(floats({0, -0.0f, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}), pruned);
  CHECK_ERROR(archive_of_parts(floats({0, -0.0f}), {.shared_bits = 1}), "p holds both 0 and -0");
  CHECK_ERROR(archive_of_parts(floats({-0.0f}), fixed(8, 2)), "p: value 0 is -0");
}

TEST_CASE("fixed-point codes of all widths come back, and take width bits each") {
  for (int width = 2; width <= 32; ++width)
    for (const int point : {1, width})
      for (const DType dtype : {DType::float32, DType::float64}) {
        CAPTURE(width);
        CAPTURE(point);
        const FixedPointFormat format{width, point};
        std::vector<double> values{0, format.step(), -format.step(),
                                   static_cast<double>(format.lowest_code()) * format.step(),
                                   static_cast<double>(format.highest_code(dtype)) * format.step()};
        const Archive archive = round_trip(Tensor::of(values, {5}).to(dtype), fixed(width, point));
        CHECK(archive.tensors.at("p.codes").numel() == (5 * width + 7) / 8);
        CHECK(archive.tensors.at("p.step").dtype() == dtype);
      }
  // Width 3, point 1: step 1/4. 0.75 is 011, -1 is 100, -0.25 is 111; lowest bits first: 1 11 100 011.
  const Archive archive = round_trip(floats({0.75f, -1, -0.25f}), fixed(3, 1));
  CHECK(archive.tensors.at("p.codes").to_vector<uint8_t>() == Bytes{0b11100011, 0b1});
  CHECK(archive.tensors.at("p.step").item() == 0.25);
}

TEST_CASE("shared values are a codebook and codes as wide as it asks for") {
  const Archive archive = round_trip(floats({3, -1, 3, 5, -1}), {.shared_bits = 2});
  CHECK(archive.tensors.at("p.codebook").to_vector<float>() == std::vector<float>{-1, 3, 5});
  CHECK(archive.tensors.at("p.codes").to_vector<uint8_t>() == Bytes{0b10010001, 0b00});  // 01 00 01 10 00
  CHECK(round_trip(floats({2, 2, 2}), {.shared_bits = 1}).tensors.at("p.codes").numel() == 1);
  // Zero is a code of its own, beside the 2^bits.
  CHECK(round_trip(floats({0, 1, 2}), {.shared_bits = 1}).tensors.at("p.codebook").numel() == 3);
  // With many zeros they are left out instead.
  std::vector<float> many(64, 0.0f);
  many[7] = 1, many[9] = 2;
  const Archive both = round_trip(floats(many), {.pruned = true, .shared_bits = 1});
  CHECK(both.tensors.contains("p.gaps"));
  CHECK(both.tensors.at("p.codebook").numel() == 2);
  const Tensor zeros_and_codes =
      floats({0, 0.5f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -0.25f, 0, 0, 0, 0, 0, 0, 0, 0});
  CHECK(round_trip(zeros_and_codes, {.pruned = true, .fixed_point = FixedPointFormat{16, 1}})
            .tensors.contains("p.gaps"));
}

TEST_CASE("values that a coding cannot hold are named") {
  CHECK_ERROR(archive_of_parts(floats({0, 0.3f}), fixed(8, 2)),
              "p: value 1 is 0.3, which is no fixed-point number of width 8");
  CHECK_ERROR(archive_of_parts(floats({2}), fixed(8, 2)), "p: value 0 is 2, which is no");
  CHECK_ERROR(archive_of_parts(floats({NAN}), fixed(8, 2)), "p: value 0 is nan");
  CHECK_ERROR(archive_of_parts(floats({1}), fixed(32, 1)), "p: value 0 is 1, which is no");
  CHECK_ERROR(archive_of_parts(floats({1, 2, 3}), {.shared_bits = 1}),
              "p has 3 distinct values besides zero");
  CHECK_ERROR(archive_of_parts(floats({NAN}), {.shared_bits = 1}), "p holds nan");
}

TEST_CASE("every fault of a coded parameter in a file is named") {
  const ParameterCoding shared{.shared_bits = 2};
  const auto with = [](const std::string& name, const Tensor& tensor, Archive archive) {
    archive.tensors[name] = tensor;
    return archive;
  };
  const Archive codes = archive_of_parts(floats({3, -1, 3, 5, -1}), shared);
  CHECK(fault(with("p.codes", bytes({0b11, 0}), codes), 5, shared) ==
        "f: tensor 'p.codes': code 0 is 3, the codebook has 3 entries");
  CHECK(fault(with("p.codes", bytes({0}), codes), 5, shared) ==
        "f: tensor 'p.codes' is uint8 [1], 5 codes of 2 bits are uint8 [2]");
  CHECK(fault(with("p.codes", bytes({0, 0x80}), codes), 5, shared) ==
        "f: tensor 'p.codes': the bits behind the last code are not zero");
  CHECK(fault(with("p.codebook", floats({1, 2, 3, 4, 5}), codes), 5, shared)
            .find("f: tensor 'p.codebook' has 5 distinct") == 0);
  CHECK(fault(with("p.codebook", bytes({1}), codes), 5, shared).find("f: tensor 'p.codebook' is uint8 [1]") ==
        0);
  CHECK(fault(with("p.codebook", floats({-1, 3, 5}).reshape({3, 1}), codes), 5, shared)
            .find("f: tensor 'p.codebook' is float32 [3,1]") == 0);
  CHECK(fault(with("p.codes", Tensor::zeros({2}, DType::int64), codes), 5, shared) ==
        "f: tensor 'p.codes' is int64 [2], 5 codes of 2 bits are uint8 [2]");
  CHECK(fault(with("p.codes", bytes({0xFF, 0xFF, 0xFF, 0x7F}), archive_of_parts(floats({0}), fixed(32, 1))),
              1, fixed(32, 1))
            .find("f: tensor 'p.codes': code 0 is 2147483647, 2147483520 is the largest") == 0);
  const Archive lattice = archive_of_parts(floats({0.75f, -1, -0.25f}), fixed(3, 1));
  CHECK(fault(with("p.step", floats({0.5f}), lattice), 3, fixed(3, 1))
            .find("f: tensor 'p.step' is not the one number 0.25") == 0);
  CHECK(fault(lattice, 4, fixed(3, 1)).empty() == false);
  CHECK(fault({}, 3, fixed(3, 1)).find("'p.step'") != std::string::npos);
  const Archive gaps = archive_of_parts(floats({0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0}), pruned);
  CHECK(fault(gaps, 10, pruned) == "f: tensor 'p.gaps': value 1 stands at place 10, the parameter has 10");
  CHECK(fault(with("p.values", floats({1}), gaps), 16, pruned) ==
        "f: tensor 'p.values' is float32 [1], its gaps have places for 2 floating-point numbers");
  CHECK(fault(with("p.values", Tensor::zeros({2}, DType::int64), gaps), 16, pruned).find("is int64 [2]") !=
        std::string::npos);
  CHECK(fault(with("p.gaps", bytes({0, 1}), gaps), 16, pruned) ==
        "f: tensor 'p.gaps': gaps of 0 bits, 1 to 16 are expected");
  CHECK(fault(with("p.gaps", bytes({17, 1}), gaps), 16, pruned).find("gaps of 17 bits") != std::string::npos);
  CHECK(fault(with("p.gaps", bytes({}), gaps), 16, pruned).find("f: tensor 'p.gaps' is uint8 [0]") == 0);
  CHECK(fault(with("p.gaps", floats({1}), gaps), 16, pruned).find("f: tensor 'p.gaps' is float32 [1]") == 0);
}
