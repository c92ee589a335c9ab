#include "core/json.h"

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "core/error.h"

namespace hashgrad {
namespace {

using nlohmann::json;

/// Hears what the parser meets, and throws at what it would accept. (The parser's own callback, which hears
/// of depth and keys too, takes a time that grows with the square of an object's size.)
class Strict final : public nlohmann::json_sax<json> {
 public:
  explicit Strict(const std::string& what) : what_(what) {}

  bool start_object(size_t) override { return open(); }
  bool start_array(size_t) override { return open(); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(std::string& key) override {
    check(keys_.back().insert(key).second, "{} names '{}' twice in one object", what_, key);
    return true;
  }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(json::number_integer_t) override { return true; }
  bool number_unsigned(json::number_unsigned_t) override { return true; }
  bool number_float(double, const std::string&) override { return true; }
  bool string(std::string&) override { return true; }
  bool binary(json::binary_t&) override { return true; }
  bool parse_error(size_t, const std::string&, const json::exception&) override { return false; }

 private:
  static constexpr size_t deepest = 8;
  bool open() {
    check(keys_.size() < deepest, "{} is nested too deeply", what_);
    keys_.emplace_back();
    return true;
  }
  bool close() {
    keys_.pop_back();
    return true;
  }

  const std::string& what_;
  std::vector<std::set<std::string>> keys_;  // of each object that is open; lists have none
};

}  // namespace

json parse_json(std::string_view text, const std::string& what) {
  Strict strict(what);
  check(json::sax_parse(text, &strict), "{} is not valid JSON", what);
  return json::parse(text);
}

}  // namespace hashgrad
