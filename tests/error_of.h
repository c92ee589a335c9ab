// What a call that must fail says.
#pragma once

#include <string>

#include "core/error.h"

namespace hashgrad::testing {

/// The message of the Error that f() throws; "(no error)" when it throws none.
template <class F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "(no error)";
}

}  // namespace hashgrad::testing

/// f() must throw an Error whose one line contains `part`.
#define CHECK_ERROR(expression, part)                                                                \
  do {                                                                                               \
    const std::string message = hashgrad::testing::error_of([&] { static_cast<void>(expression); }); \
    INFO("message: ", message);                                                                      \
    CHECK(message.find(part) != std::string::npos);                                                  \
    CHECK(message.find('\n') == std::string::npos);                                                  \
  } while (false)
