#include "core/archive.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/file.h"
#include "core/json.h"

namespace hashgrad {
namespace {

using nlohmann::json;
static_assert(std::endian::native == std::endian::little, "safetensors is little-endian");

constexpr uint64_t header_limit = 100'000'000;  // the format's own limit
constexpr size_t alignment = 64;

float from_half(uint16_t h) {
  const uint32_t sign = (h & 0x8000u) << 16, exponent = (h >> 10) & 31u, fraction = h & 0x3ffu;
  if (exponent == 0) return (sign ? -1.0f : 1.0f) * static_cast<float>(fraction) * 0x1p-24f;
  const uint32_t e = exponent == 31 ? 255u : exponent + 112u;
  return std::bit_cast<float>(sign | (e << 23) | (fraction << 13));
}
float from_bfloat(uint16_t b) { return std::bit_cast<float>(uint32_t{b} << 16); }

/// How one element type of the format becomes one of ours.
struct Reader {
  const char* name;
  size_t bytes;
  DType dtype;
  void (*convert)(const char* from, int64_t n, Tensor& to);
};

template <class From, class To>
void convert(const char* from, int64_t n, Tensor& to) {
  To* out = to.data<To>();
  for (int64_t i = 0; i < n; ++i) {
    From value;
    std::memcpy(&value, from + static_cast<size_t>(i) * sizeof(From), sizeof(From));
    if constexpr (std::is_same_v<From, uint64_t>)
      check(value <= uint64_t{std::numeric_limits<int64_t>::max()}, "U64 value {} does not fit int64", value);
    out[i] = static_cast<To>(value);
  }
}
template <float (*F)(uint16_t)>
void convert16(const char* from, int64_t n, Tensor& to) {
  for (int64_t i = 0; i < n; ++i) {
    uint16_t bits;
    std::memcpy(&bits, from + 2 * i, 2);
    to.data<float>()[i] = F(bits);
  }
}

const Reader readers[] = {
    {"F32", 4, DType::float32, convert<float, float>},
    {"F64", 8, DType::float64, convert<double, double>},
    {"F16", 2, DType::float32, convert16<from_half>},
    {"BF16", 2, DType::float32, convert16<from_bfloat>},
    {"I64", 8, DType::int64, convert<int64_t, int64_t>},
    {"I32", 4, DType::int64, convert<int32_t, int64_t>},
    {"I16", 2, DType::int64, convert<int16_t, int64_t>},
    {"I8", 1, DType::int64, convert<int8_t, int64_t>},
    {"U64", 8, DType::int64, convert<uint64_t, int64_t>},
    {"U32", 4, DType::int64, convert<uint32_t, int64_t>},
    {"U16", 2, DType::int64, convert<uint16_t, int64_t>},
    {"U8", 1, DType::uint8, convert<uint8_t, uint8_t>},
    {"BOOL", 1, DType::int64, convert<uint8_t, int64_t>},  // not uint8, of which 255 is the 1 of images
};

const char* format_name(DType t) {
  switch (t) {
    case DType::float32:
      return "F32";
    case DType::float64:
      return "F64";
    case DType::int64:
      return "I64";
    case DType::uint8:
      break;
  }
  return "U8";
}

json parse_header(const std::string& bytes, const std::string& name, uint64_t& data_begin) {
  check(bytes.size() >= 8, "{}: {} bytes are too few for a safetensors file (8-byte header size expected)",
        name, bytes.size());
  uint64_t header_size;
  std::memcpy(&header_size, bytes.data(), 8);
  check(header_size <= header_limit && header_size <= bytes.size() - 8,
        "{}: is not a safetensors file or is truncated: the header claims {} bytes, {} follow", name,
        header_size, bytes.size() - 8);
  data_begin = 8 + header_size;
  json header = parse_json({bytes.data() + 8, header_size}, name + ": the safetensors header");
  check(header.is_object(), "{}: the safetensors header is not a JSON object", name);
  return header;
}

struct Entry {
  std::string name;
  const Reader* reader;
  Shape shape;
  uint64_t begin, end;
};

bool all_unsigned(const json& array) {
  return array.is_array() &&
         std::all_of(array.begin(), array.end(), [](const json& v) { return v.is_number_unsigned(); });
}

Entry parse_entry(const std::string& tensor, const json& value, uint64_t data_size, const std::string& file) {
  const std::string where = fmt::format("{}: tensor '{}'", file, tensor);
  const auto field = [&](const char* key) -> const json& {
    check(value.is_object() && value.contains(key), "{} has no '{}'", where, key);
    return value[key];
  };
  const json &type = field("dtype"), &shape = field("shape"), &offsets = field("data_offsets");
  check(type.is_string(), "{}: dtype is not a string", where);
  const auto reader = std::find_if(std::begin(readers), std::end(readers),
                                   [&](const Reader& r) { return type.get<std::string>() == r.name; });
  check(reader != std::end(readers), "{}: dtype '{}' is not supported", where, type.get<std::string>());
  check(all_unsigned(shape) && shape.size() <= Shape::max_rank, "{}: shape is not a list of at most {} sizes",
        where, Shape::max_rank);
  check(all_unsigned(offsets) && offsets.size() == 2, "{}: data_offsets is not a pair of offsets", where);
  std::vector<int64_t> sizes;
  for (const json& s : shape) {
    check(s.get<uint64_t>() <= data_size || s.get<uint64_t>() == 0, "{}: shape {} is larger than the file",
          where, shape.dump());
    sizes.push_back(static_cast<int64_t>(s.get<uint64_t>()));
  }
  Entry e{tensor, reader, {}, offsets[0].get<uint64_t>(), offsets[1].get<uint64_t>()};
  try {
    e.shape = Shape(sizes);
  } catch (const Error& error) {
    fail("{}: {}", where, error.what());
  }
  check(e.begin <= e.end && e.end <= data_size, "{}: bytes {} to {} lie outside the file's {} bytes of data",
        where, e.begin, e.end, data_size);
  const uint64_t expected = static_cast<uint64_t>(e.shape.numel()) * reader->bytes;
  check(e.end - e.begin == expected, "{}: {} of {} needs {} bytes, the file holds {}", where, e.shape,
        reader->name, expected, e.end - e.begin);
  return e;
}

}  // namespace

const Tensor& Archive::at(const std::string& name, const std::string& what) const {
  if (const auto it = tensors.find(name); it != tensors.end()) return it->second;
  std::string have;
  for (const auto& [key, value] : tensors) have += (have.empty() ? "" : ", ") + key;
  fail("{}: has no tensor '{}' (it has: {})", what, name, have.empty() ? "none" : have);
}

void Archive::restore(const std::string& name, const std::string& what, Tensor into) const {
  const Tensor& saved = at(name, what);
  check(saved.shape() == into.shape() && saved.dtype() == into.dtype(),
        "{}: tensor '{}' is {} {}, {} {} is expected", what, name, name_of(saved.dtype()), saved.shape(),
        name_of(into.dtype()), into.shape());
  into.copy_from(saved);
}

Archive parse_archive(const std::string& bytes, const std::string& name) {
  uint64_t data_begin = 0;
  const json header = parse_header(bytes, name, data_begin);
  const uint64_t data_size = bytes.size() - data_begin;
  std::vector<Entry> entries;
  Archive archive;
  for (const auto& [key, value] : header.items()) {
    if (key != "__metadata__") {
      entries.push_back(parse_entry(key, value, data_size, name));
      continue;
    }
    check(value.is_object(), "{}: __metadata__ is not an object", name);
    for (const auto& [k, v] : value.items()) {
      check(v.is_string(), "{}: metadata '{}' is not a string", name, k);
      archive.metadata[k] = v.get<std::string>();
    }
  }
  // The format leaves no gaps and no overlaps; a file that has them was damaged or made to deceive.
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t expected = 0;
  for (const Entry& e : entries) {
    check(e.begin == expected, "{}: tensor '{}' begins at byte {}, {} expected", name, e.name, e.begin,
          expected);
    expected = e.end;
  }
  check(expected == data_size, "{}: {} bytes of data, the header accounts for {} (truncated or damaged)",
        name, data_size, expected);
  for (const Entry& e : entries) {
    Tensor t = Tensor::empty(e.shape, e.reader->dtype);
    try {
      e.reader->convert(bytes.data() + data_begin + e.begin, t.numel(), t);
    } catch (const Error& error) {
      fail("{}: tensor '{}': {}", name, e.name, error.what());
    }
    archive.tensors.emplace(e.name, std::move(t));
  }
  return archive;
}

std::string as_recorded(const std::string& text) {
  return json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace)).get<std::string>();
}

std::string serialise_archive(const Archive& archive) {
  json header = json::object();
  for (const auto& [key, value] : archive.metadata) header["__metadata__"][key] = as_recorded(value);
  uint64_t offset = 0;
  for (const auto& [name, tensor] : archive.tensors) {
    check(name != "__metadata__", "archive: a tensor cannot be named __metadata__");
    const uint64_t size = static_cast<uint64_t>(tensor.numel()) * size_of(tensor.dtype());
    header[name] = {{"dtype", format_name(tensor.dtype())},
                    {"shape", std::vector<int64_t>(tensor.shape().begin(), tensor.shape().end())},
                    {"data_offsets", {offset, offset + size}}};
    offset += size;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const json::exception&) {
    fail("archive: a name is not valid UTF-8");
  }
  text.resize((text.size() + 8 + alignment - 1) / alignment * alignment - 8, ' ');
  const uint64_t header_size = text.size();
  std::string bytes(reinterpret_cast<const char*>(&header_size), 8);
  bytes.reserve(8 + text.size() + offset);
  bytes += text;
  for (const auto& [name, tensor] : archive.tensors) {
    const Tensor t = tensor.to(Device{}).contiguous();
    for_any_type(t.dtype(), [&]<class T>() {
      bytes.append(reinterpret_cast<const char*>(t.data<T>()), static_cast<size_t>(t.numel()) * sizeof(T));
    });
  }
  return bytes;
}

Archive read_archive(const std::string& path) { return parse_archive(read_file(path), path); }

void write_archive(const std::string& path, const Archive& archive) {
  write_file(path, serialise_archive(archive));
}

}  // namespace hashgrad
