#include "nn/coding.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"

namespace hashgrad {
namespace {

using nlohmann::json;

constexpr const char *masks_key = "masks", *quantisers_key = "quantisers";

json entry_of(const FixedPointFormat& format) {
  return {{"method", "fixed-point"}, {"width", format.width}, {"point", format.point}};
}

/// One object of a list, with errors that name the file and the key.
class Entry {
 public:
  Entry(const json& object, std::string where) : object_(object), where_(std::move(where)) {}

  std::string method() const { return text("method"); }
  std::string parameter() const { return text("parameter"); }
  bool has(const char* field) const { return object_.contains(field); }
  int64_t number(const char* field, int64_t low, int64_t high) const {
    const bool integer = has(field) && object_[field].is_number_integer();
    check(integer && object_[field] >= low && object_[field] <= high,
          "{}: \"{}\" of {}, a whole number from {} to {} is expected", where_, field, object_.dump(), low,
          high);
    return object_[field].get<int64_t>();
  }
  FixedPointFormat format() const {
    const FixedPointFormat format{static_cast<int>(number("width", 2, 32)),
                                  static_cast<int>(number("point", 1, 32))};
    check_format(format, where_);
    return format;
  }
  [[noreturn]] void unknown(const char* known) const {
    fail(
        "{} names '{}', which this version does not know (it knows: {}); without it the model would compute "
        "something else",
        where_, method(), known);
  }
  [[noreturn]] void twice() const { fail("{}: {} comes on top of another entry", where_, object_.dump()); }

 private:
  std::string text(const char* field) const {
    check(object_.is_object() && has(field) && object_[field].is_string(),
          "{} has an entry that is not an object with a \"{}\"", where_, field);
    return object_[field].get<std::string>();
  }

  const json& object_;
  std::string where_;
};

/// Calls f on every entry of the list under `key`; there is none when the key is missing.
template <class F>
void for_each_entry(const std::map<std::string, std::string>& metadata, const char* key,
                    const std::string& name, const F& f) {
  const auto it = metadata.find(key);
  if (it == metadata.end()) return;
  const std::string where = name + ": metadata " + key;
  const json list = parse_json(it->second, where);
  check(list.is_array(), "{} is not a JSON list", where);
  for (const json& object : list) f(Entry(object, where));
}

void read_mask(const Entry& entry, Coding& coding) {
  if (entry.method() != "prune") entry.unknown("prune");
  if (std::exchange(coding.parameters[entry.parameter()].pruned, true)) entry.twice();
}

void read_quantiser(const Entry& entry, Coding& coding) {
  const bool fixed_point = entry.method() == "fixed-point";
  if (!fixed_point && entry.method() != "kmeans") entry.unknown("kmeans, fixed-point");
  if (fixed_point && entry.has("layer")) {
    const auto layer = static_cast<size_t>(entry.number("layer", 0, 1'000'000));
    if (!coding.activations.emplace(layer, entry.format()).second) entry.twice();
    return;
  }
  ParameterCoding& parameter = coding.parameters[entry.parameter()];
  if (parameter.shared_bits > 0 || parameter.fixed_point) entry.twice();
  if (fixed_point)
    parameter.fixed_point = entry.format();
  else
    parameter.shared_bits = static_cast<int>(entry.number("bits", 1, most_shared_bits));
}

}  // namespace

ParameterCoding Coding::of(const std::string& parameter) const {
  const auto it = parameters.find(parameter);
  return it == parameters.end() ? ParameterCoding{} : it->second;
}

std::map<std::string, std::string> metadata_of(const Coding& coding) {
  json masks = json::array(), quantisers = json::array();
  for (const auto& [name, parameter] : coding.parameters) {
    if (parameter.pruned) masks.push_back({{"method", "prune"}, {"parameter", name}});
    if (parameter.shared_bits > 0)
      quantisers.push_back({{"method", "kmeans"}, {"parameter", name}, {"bits", parameter.shared_bits}});
    if (!parameter.fixed_point) continue;
    quantisers.push_back(entry_of(*parameter.fixed_point));
    quantisers.back()["parameter"] = name;
  }
  for (const auto& [layer, format] : coding.activations) {
    quantisers.push_back(entry_of(format));
    quantisers.back()["layer"] = layer;
  }
  std::map<std::string, std::string> metadata;
  if (!masks.empty()) metadata[masks_key] = masks.dump();
  if (!quantisers.empty()) metadata[quantisers_key] = quantisers.dump();
  return metadata;
}

Coding coding_of(const std::map<std::string, std::string>& metadata, const std::string& name) {
  Coding coding;
  for_each_entry(metadata, masks_key, name, [&](const Entry& entry) { read_mask(entry, coding); });
  for_each_entry(metadata, quantisers_key, name, [&](const Entry& entry) { read_quantiser(entry, coding); });
  return coding;
}

}  // namespace hashgrad
