// Usage: hashgrad_mutants BUG    runs the kernels of mutants.cu with this bug on the emulator.
//        hashgrad_mutants        lists the bugs.
// Exit status: 0 when nothing was noticed, 1 when something was (sanitizers may end it with another one), 2
// for bad usage.
#include <cstdio>
#include <exception>
#include <string>

#include "tests/emulator/mutants.h"

namespace {

using hashgrad::testing::Bug;

struct Named {
  const char* name;
  Bug bug;
};
constexpr Named bugs[] = {
#define X(name) {#name, Bug::name},
    HASHGRAD_BUGS(X)
#undef X
};

int run(Bug bug) {
  try {
    const bool right = hashgrad::emu::testing::run_mutant(bug);
    std::puts(right ? "nothing noticed" : "noticed: a wrong result");
    return right ? 0 : 1;
  } catch (const std::exception& e) {
    std::printf("noticed: %s\n", e.what());
    return 1;
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count == 1) {
    for (const Named& named : bugs) std::puts(named.name);
    return 0;
  }
  for (const Named& named : bugs)
    if (count == 2 && std::string(arguments[1]) == named.name) return run(named.bug);
  std::fputs("usage: hashgrad_mutants [BUG]\n", stderr);
  return 2;
}
