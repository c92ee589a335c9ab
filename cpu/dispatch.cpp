#include <cstdlib>
#include <string_view>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/error.h"
#include "cpu/kernels.h"

namespace hashgrad::cpu {
namespace {

#ifdef __x86_64__
/// Tiles of bf16, and Linux's leave to use them: their 8 KB of registers are given out on request only.
bool has_tiles() {
  constexpr int arch_request_permission = 0x1023, tile_data = 18;
  static const bool granted = __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") &&
                              syscall(SYS_arch_prctl, arch_request_permission, tile_data) == 0;
  return granted;
}
#endif

Isa choose() {
  const char* wanted = std::getenv("HASHGRAD_ISA");
  for (const Isa candidate : {Isa::amx, Isa::avx512bf16, Isa::avx512, Isa::avx2, Isa::plain}) {
    if (wanted && std::string_view(wanted) != isa_name(candidate)) continue;
    if (isa_supported(candidate)) return candidate;
    check(!wanted, "HASHGRAD_ISA: this machine has no {}", isa_name(candidate));
  }
  fail("HASHGRAD_ISA: unknown instruction set '{}' (accepted: plain, avx2, avx512, avx512bf16, amx)", wanted);
}

Isa& current() {
  static Isa chosen = choose();
  return chosen;
}

}  // namespace

Isa isa() { return current(); }

const char* isa_name(Isa isa) {
  constexpr const char* names[] = {"plain", "avx2", "avx512", "avx512bf16", "amx"};
  return names[static_cast<int>(isa)];
}

bool isa_supported(Isa isa) {
  if (isa == Isa::plain) return true;
#ifdef __x86_64__
  if (isa == Isa::avx2)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("fma");
  const bool avx512bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
  return isa == Isa::avx512 ? avx512 : isa == Isa::avx512bf16 ? avx512bf16 : avx512bf16 && has_tiles();
#else
  return false;
#endif
}

void set_isa(Isa isa) {
  check(isa_supported(isa), "set_isa: this machine has no {}", isa_name(isa));
  current() = isa;
}

}  // namespace hashgrad::cpu
