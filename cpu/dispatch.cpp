#include <cstdlib>
#include <string_view>

#include "core/error.h"
#include "cpu/kernels.h"

namespace hashgrad::cpu {
namespace {

Isa choose() {
  const char* wanted = std::getenv("HASHGRAD_ISA");
  for (const Isa candidate : {Isa::avx512, Isa::avx2, Isa::plain}) {
    if (wanted && std::string_view(wanted) != isa_name(candidate)) continue;
    if (isa_supported(candidate)) return candidate;
    check(!wanted, "HASHGRAD_ISA: this machine has no {}", isa_name(candidate));
  }
  fail("HASHGRAD_ISA: unknown instruction set '{}' (accepted: plain, avx2, avx512)", wanted);
}

Isa& current() {
  static Isa chosen = choose();
  return chosen;
}

}  // namespace

Isa isa() { return current(); }

const char* isa_name(Isa isa) { return isa == Isa::avx512 ? "avx512" : isa == Isa::avx2 ? "avx2" : "plain"; }

bool isa_supported(Isa isa) {
  if (isa == Isa::plain) return true;
#ifdef __x86_64__
  if (isa == Isa::avx2)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

void set_isa(Isa isa) {
  check(isa_supported(isa), "set_isa: this machine has no {}", isa_name(isa));
  current() = isa;
}

}  // namespace hashgrad::cpu
