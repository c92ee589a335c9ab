#include "nn/weight_codec.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "nn/bit_stream.h"

namespace hashgrad {
namespace {

using Parts = std::map<std::string, Tensor>;
using Positions = std::vector<int64_t>;

constexpr int widest_gap = 16;

Tensor bytes_tensor(const std::vector<uint8_t>& bytes) { return Tensor::of(bytes, {std::ssize(bytes)}); }

int64_t bytes_of(const Parts& parts) {
  int64_t bytes = 0;
  for (const auto& [suffix, tensor] : parts)
    bytes += tensor.numel() * static_cast<int64_t>(size_of(tensor.dtype()));
  return bytes;
}

/// Zero as pruning leaves it. -0 is a number like others: dropping it would lose its sign.
template <class T>
bool is_zero(T value) {
  return value == 0 && !std::signbit(value);
}

template <class T>
Positions positions_of_nonzeros(const std::vector<T>& values) {
  Positions positions;
  for (size_t i = 0; i < values.size(); ++i)
    if (!is_zero(values[i])) positions.push_back(static_cast<int64_t>(i));
  return positions;
}

template <class T>
std::vector<T> values_at(const std::vector<T>& values, const Positions& positions) {
  std::vector<T> chosen;
  for (const int64_t at : positions) chosen.push_back(values[static_cast<size_t>(at)]);
  return chosen;
}

// Gaps: how many zeros stand before each value, as numbers of w bits. The largest of them, 2^w - 1, is no gap
// but as many zeros without a value behind them. With w = 1 that is a bitmap: a 1 for a zero, a 0 for a
// value.

/// Calls f(gap) for each position.
template <class F>
void for_each_gap(const Positions& positions, const F& f) {
  int64_t next = 0;
  for (const int64_t at : positions) f(static_cast<uint64_t>(at - next)), next = at + 1;
}

uint64_t bits_of_gaps(const Positions& positions, int width) {
  const uint64_t skip = (uint64_t{1} << width) - 1;
  uint64_t numbers = 0;
  for_each_gap(positions, [&](uint64_t gap) { numbers += gap / skip + 1; });
  return numbers * static_cast<uint64_t>(width);
}

/// Width first, then the gaps in the width that takes the fewest bits. The last byte is filled with ones,
/// which read as zeros without a value behind them.
std::vector<uint8_t> write_gaps(const Positions& positions) {
  int width = 1;
  for (int other = 2; other <= widest_gap; ++other)
    if (bits_of_gaps(positions, other) < bits_of_gaps(positions, width)) width = other;
  const uint32_t skip = (uint32_t{1} << width) - 1;
  BitWriter writer;
  writer.put(static_cast<uint32_t>(width), 8);
  for_each_gap(positions, [&](uint64_t gap) {
    for (; gap >= skip; gap -= skip) writer.put(skip, width);
    writer.put(static_cast<uint32_t>(gap), width);
  });
  return writer.finish(1);
}

/// `where` names the tensor of gaps; `size` is the number of elements of the parameter.
Positions read_gaps(const Tensor& gaps, int64_t size, const std::string& where) {
  check(gaps.dtype() == DType::uint8 && gaps.rank() == 1 && gaps.numel() >= 1,
        "{} is {} {}, bytes are expected", where, name_of(gaps.dtype()), gaps.shape());
  BitReader reader(gaps.data<uint8_t>(), static_cast<size_t>(gaps.numel()));
  const auto width = static_cast<int>(reader.get(8));
  check(width >= 1 && width <= widest_gap, "{}: gaps of {} bits, 1 to {} are expected", where, width,
        widest_gap);
  const uint32_t skip = (uint32_t{1} << width) - 1;
  Positions positions;
  int64_t at = 0;
  while (reader.left() >= static_cast<size_t>(width)) {
    const uint32_t gap = reader.get(width);
    at += gap;
    if (gap == skip) continue;
    check(at < size, "{}: value {} stands at place {}, the parameter has {}", where, positions.size(), at,
          size);
    positions.push_back(at++);
  }
  return positions;
}

/// Codes of `bits` bits each.
Tensor write_codes(const std::vector<uint32_t>& codes, int bits) {
  BitWriter writer;
  for (const uint32_t code : codes) writer.put(code, bits);
  return bytes_tensor(writer.finish(0));
}

std::vector<uint32_t> read_codes(const Tensor& codes, size_t count, int bits, const std::string& where) {
  const int64_t bytes = static_cast<int64_t>((count * static_cast<size_t>(bits) + 7) / 8);
  check(codes.dtype() == DType::uint8 && codes.shape() == Shape{bytes},
        "{} is {} {}, {} codes of {} bits are uint8 [{}]", where, name_of(codes.dtype()), codes.shape(),
        count, bits, bytes);
  BitReader reader(codes.data<uint8_t>(), static_cast<size_t>(bytes));
  std::vector<uint32_t> all(count);
  for (uint32_t& code : all) code = reader.get(bits);
  check(reader.left() == 0 || reader.get(static_cast<int>(reader.left())) == 0,
        "{}: the bits behind the last code are not zero", where);
  return all;
}

// Shared values.

/// The distinct values, ascending.
template <class T>
std::vector<T> codebook_of(std::vector<T> values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return values;
}

/// Bits that tell the entries of a codebook apart; at least 1.
int code_bits(size_t entries) {
  return std::max(1, static_cast<int>(std::bit_width(std::max<size_t>(entries, 1) - 1)));
}

template <class T>
void check_shared(const std::vector<T>& codebook, int bits, const std::string& what) {
  const auto zeros = std::count(codebook.begin(), codebook.end(), T{0});
  const auto others = std::ssize(codebook) - zeros;
  check(others <= int64_t{1} << bits,
        "{} has {} distinct values besides zero, its {} shared bits tell {} apart", what, others, bits,
        int64_t{1} << bits);
}

template <class T>
Parts encode_shared(const std::vector<T>& values, int bits, const std::string& what) {
  for (const T value : values)
    check(std::isfinite(value), "{} holds {}, which cannot be shared", what, value);
  const std::vector<T> codebook = codebook_of(values);
  check_shared(codebook, bits, what);
  std::vector<uint32_t> codes;
  for (const T value : values) {
    const auto entry = std::lower_bound(codebook.begin(), codebook.end(), value);
    codes.push_back(static_cast<uint32_t>(entry - codebook.begin()));
    check(std::signbit(*entry) == std::signbit(value), "{} holds both 0 and -0, which share no code", what);
  }
  return {{".codebook", Tensor::of(codebook, {std::ssize(codebook)})},
          {".codes", write_codes(codes, code_bits(codebook.size()))}};
}

template <class T>
std::vector<T> decode_shared(const Archive& archive, const std::string& name, size_t count,
                             const ParameterCoding& coding, const std::string& file) {
  const Tensor& book = archive.at(name + ".codebook", file);
  const std::string where = fmt::format("{}: tensor '{}.codebook'", file, name);
  check(is_floating(book.dtype()) && book.rank() == 1,
        "{} is {} {}, a list of floating-point numbers is expected", where, name_of(book.dtype()),
        book.shape());
  const std::vector<T> codebook = book.to(dtype_of<T>).template to_vector<T>();
  check_shared(codebook, coding.shared_bits, where);
  const std::string at = fmt::format("{}: tensor '{}.codes'", file, name);
  std::vector<T> values;
  for (const uint32_t code :
       read_codes(archive.at(name + ".codes", file), count, code_bits(codebook.size()), at)) {
    check(code < codebook.size(), "{}: code {} is {}, the codebook has {} entries", at, values.size(), code,
          codebook.size());
    values.push_back(codebook[code]);
  }
  return values;
}

// Fixed-point numbers.

template <class T>
Parts encode_fixed_point(const std::vector<T>& values, const FixedPointFormat& format,
                         const std::string& what) {
  const T step = static_cast<T>(format.step());
  std::vector<uint32_t> codes;
  for (const T value : values) {
    const T code = value / step;  // a power of two: exact
    const bool fits = code == std::nearbyint(code) && code >= static_cast<T>(format.lowest_code()) &&
                      code <= static_cast<T>(format.highest_code(dtype_of<T>)) &&
                      !(code == 0 && std::signbit(code));
    check(fits, "{}: value {} is {}, which is no fixed-point number of width {} and point {}", what,
          codes.size(), value, format.width, format.point);
    codes.push_back(static_cast<uint32_t>(static_cast<int64_t>(code)));
  }
  return {{".step", Tensor::of(std::vector<T>{step}, {})}, {".codes", write_codes(codes, format.width)}};
}

template <class T>
std::vector<T> decode_fixed_point(const Archive& archive, const std::string& name, size_t count,
                                  const FixedPointFormat& format, const std::string& file) {
  const Tensor& step = archive.at(name + ".step", file);
  check(step.numel() == 1 && step.item() == format.step(),
        "{}: tensor '{}.step' is not the one number {} that width {} and point {} give", file, name,
        format.step(), format.width, format.point);
  const std::string where = fmt::format("{}: tensor '{}.codes'", file, name);
  std::vector<T> values;
  for (const uint32_t code : read_codes(archive.at(name + ".codes", file), count, format.width, where)) {
    const int unused = 32 - format.width;
    const int32_t signed_code = static_cast<int32_t>(code << unused) >> unused;
    check(signed_code <= format.highest_code(dtype_of<T>),
          "{}: code {} is {}, {} is the largest that {} holds exactly", where, values.size(), signed_code,
          format.highest_code(dtype_of<T>), name_of(dtype_of<T>));
    values.push_back(static_cast<T>(signed_code) * static_cast<T>(format.step()));
  }
  return values;
}

// Parameters.

/// The values alone, wherever they stand.
template <class T>
Parts encode_values(const std::vector<T>& values, const ParameterCoding& coding, const std::string& what) {
  if (coding.fixed_point) return encode_fixed_point(values, *coding.fixed_point, what);
  if (coding.shared_bits > 0) return encode_shared(values, coding.shared_bits, what);
  return {{".values", Tensor::of(values, {std::ssize(values)})}};
}

template <class T>
std::vector<T> decode_values(const Archive& archive, const std::string& name, size_t count,
                             const ParameterCoding& coding, const std::string& file) {
  if (coding.fixed_point) return decode_fixed_point<T>(archive, name, count, *coding.fixed_point, file);
  if (coding.shared_bits > 0) return decode_shared<T>(archive, name, count, coding, file);
  const Tensor& values = archive.at(name + ".values", file);
  check(is_floating(values.dtype()) && values.shape() == Shape{static_cast<int64_t>(count)},
        "{}: tensor '{}.values' is {} {}, its gaps have places for {} floating-point numbers", file, name,
        name_of(values.dtype()), values.shape(), count);
  return values.to(dtype_of<T>).template to_vector<T>();
}

template <class T>
Parts encode(const Tensor& tensor, const ParameterCoding& coding, const std::string& what) {
  const std::vector<T> values = tensor.to_vector<T>();
  const bool coded = coding.fixed_point || coding.shared_bits > 0;
  Parts whole = coded ? encode_values(values, coding, what) : Parts{{"", tensor}};
  if (!coding.pruned) return whole;
  const Positions positions = positions_of_nonzeros(values);
  Parts sparse = encode_values(values_at(values, positions), coding, what);
  sparse[".gaps"] = bytes_tensor(write_gaps(positions));
  return bytes_of(sparse) < bytes_of(whole) ? sparse : whole;
}

bool has_gaps(const Archive& archive, const std::string& name, const ParameterCoding& coding) {
  return coding.pruned && archive.tensors.contains(name + ".gaps");
}

template <class T>
Tensor decode(const Archive& archive, const std::string& name, const Shape& shape,
              const ParameterCoding& coding, const std::string& file) {
  const auto size = static_cast<size_t>(shape.numel());
  if (!has_gaps(archive, name, coding))
    return Tensor::of(decode_values<T>(archive, name, size, coding, file), shape);
  const Positions positions = read_gaps(archive.at(name + ".gaps", file), shape.numel(),
                                        fmt::format("{}: tensor '{}.gaps'", file, name));
  const std::vector<T> values = decode_values<T>(archive, name, positions.size(), coding, file);
  std::vector<T> all(size);
  for (size_t i = 0; i < values.size(); ++i) all[static_cast<size_t>(positions[i])] = values[i];
  return Tensor::of(all, shape);
}

}  // namespace

std::map<std::string, Tensor> encode_parameter(const Tensor& values, const ParameterCoding& coding,
                                               const std::string& what) {
  if (coding.plain()) return {{"", values}};
  return for_float_type(values.dtype(), "encode_parameter",
                        [&]<class T>() { return encode<T>(values, coding, what); });
}

Tensor decode_parameter(const Archive& archive, const std::string& name, const Shape& shape, DType dtype,
                        const ParameterCoding& coding, const std::string& file) {
  if (tensors_of_parameter(archive, name, coding).front() == name) return archive.at(name, file);
  return for_float_type(dtype, "decode_parameter",
                        [&]<class T>() { return decode<T>(archive, name, shape, coding, file); });
}

std::vector<std::string> tensors_of_parameter(const Archive& archive, const std::string& name,
                                              const ParameterCoding& coding) {
  std::vector<std::string> names;
  if (has_gaps(archive, name, coding)) names.push_back(name + ".gaps");
  if (coding.fixed_point)
    names.insert(names.end(), {name + ".step", name + ".codes"});
  else if (coding.shared_bits > 0)
    names.insert(names.end(), {name + ".codebook", name + ".codes"});
  else
    names.push_back(names.empty() ? name : name + ".values");
  return names;
}

}  // namespace hashgrad
