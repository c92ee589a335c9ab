#include "cuda/emulator/options.h"

#include <charconv>
#include <cstdlib>
#include <string_view>

#include "core/error.h"

namespace hashgrad::emulator {
namespace {

std::string_view variable(const char* name, std::string_view otherwise) {
  const char* text = std::getenv(name);
  return text ? std::string_view(text) : otherwise;
}

Order order_named(std::string_view text) {
  if (text == "ascending") return Order::ascending;
  if (text == "descending") return Order::descending;
  if (text == "random") return Order::random;
  fail("HASHGRAD_EMU_ORDER: '{}' is no order (accepted: ascending, descending, random)", text);
}

Options from_environment() {
  Options options;
  options.order = order_named(variable("HASHGRAD_EMU_ORDER", "ascending"));
  const std::string_view seed = variable("HASHGRAD_EMU_SEED", "1");
  const auto [end, status] = std::from_chars(seed.data(), seed.data() + seed.size(), options.seed);
  check(status == std::errc{} && end == seed.data() + seed.size(), "HASHGRAD_EMU_SEED: '{}' is no number",
        seed);
  const std::string_view strict = variable("HASHGRAD_EMU_STRICT", "0");
  check(strict == "0" || strict == "1", "HASHGRAD_EMU_STRICT: '{}' is neither 0 nor 1", strict);
  options.strict = strict == "1";
  return options;
}

Options& current() {
  static Options options = from_environment();
  return options;
}

}  // namespace

Options options() { return current(); }
void set_options(const Options& options) { current() = options; }

}  // namespace hashgrad::emulator
