#define DOCTEST_CONFIG_IMPLEMENT
#include <cstdio>
#include <doctest/doctest.h>
#include <map>

#include "tests/skipped.h"

namespace hashgrad::testing {
namespace {

std::map<std::string, int> skipped_cases;

}  // namespace

void count_skipped(const std::string& engine, const std::string& obstacle) {
  ++skipped_cases[engine + ": " + obstacle];
}

}  // namespace hashgrad::testing

int main(int argc, char** argv) {
  const int status = doctest::Context(argc, argv).run();
  for (const auto& [reason, cases] : hashgrad::testing::skipped_cases)
    std::printf("skipped: %d test cases on %s\n", cases, reason.c_str());
  return status;
}
