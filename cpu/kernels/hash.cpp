// Hash, gather, scatter. Slots pass through a small buffer in L1 between the steps: the gather bounds the
// time, so that costs next to nothing, and one hash loop serves packing, materialising and scattering.
#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "core/hash.h"
#include "cpu/hash_kernels.h"
#include "cpu/kernels/simd.h"

namespace hashgrad::cpu::HASHGRAD_ISA {
namespace {

#if defined(HASHGRAD_ISA_avx512)
constexpr int lanes = 16;
#elif defined(__AVX2__)
constexpr int lanes = 8;
#else
constexpr int lanes = 4;
#endif
static_assert(lanes <= HashTable::slack);

using Words = Simd<uint32_t, lanes* static_cast<int>(sizeof(uint32_t))>::Vector;

#if defined(HASHGRAD_ISA_avx512)
using Longs = Simd<uint64_t>::Vector;
/// Products of the low halves.
Longs multiply_low(Longs a, Longs b) {
  return reinterpret_cast<Longs>(
      _mm512_maskz_mul_epu32(0xff, reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}
#endif

/// High halves of the 64-bit products: even and odd lanes apart, then merged.
Words multiply_high(Words x, Words y) {
#if defined(HASHGRAD_ISA_avx512)
  const Longs a = reinterpret_cast<Longs>(x), b = reinterpret_cast<Longs>(y);
  const Words even = reinterpret_cast<Words>(multiply_low(a, b) >> 32),
              odd = reinterpret_cast<Words>(multiply_low(a >> 32, b));
  return reinterpret_cast<Words>(
      _mm512_mask_blend_epi32(0xaaaa, reinterpret_cast<__m512i>(even), reinterpret_cast<__m512i>(odd)));
#elif defined(__AVX2__)
  const __m256i a = reinterpret_cast<__m256i>(x), b = reinterpret_cast<__m256i>(y);
  const __m256i even = _mm256_srli_epi64(_mm256_mul_epu32(a, b), 32);
  const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), b);
  return reinterpret_cast<Words>(_mm256_blend_epi32(even, odd, 0xaa));
#else
  for (int l = 0; l < lanes; ++l) x[l] = static_cast<uint32_t>((uint64_t{x[l]} * y[l]) >> 32);
  return x;
#endif
}

/// hash_slot of core/hash.h, several lanes at once.
void slots(const uint32_t* lane_keys, int64_t width, const uint32_t* depth_keys, int64_t depth,
           uint32_t slot_count, uint32_t* out) {
  const Words count = Words{} + slot_count;
  for (int64_t d = 0; d < depth; ++d, out += width) {
    for (int64_t l = 0; l < width; l += lanes) {  // what a last, wider store spoils, the next d overwrites
      Words x = (load<Words>(lane_keys + l) ^ depth_keys[d]) * hash_multiplier_1;
      x ^= x >> hash_shift;
      x = multiply_high(x * hash_multiplier_2, count);
      store(out + l, x);
    }
  }
}

/// stratified_slot of core/hash.h, several lanes at once.
void tile_slots(const TileSlots& t) {
  const Words signed_strata = Words{} + 2 * t.window_strata;
  for (int64_t d = 0; d < t.depth; ++d) {
    const uint32_t key = t.depth_keys[d], bank = t.depth_banks[d] ^ t.tile;
    uint32_t* out = t.out + d * t.stride;
    for (int64_t l = 0; l < t.width; l += lanes) {
      Words x = (load<Words>(t.lane_keys + l) ^ key) * hash_multiplier_1;
      x ^= x >> hash_shift;
      x = multiply_high(x * hash_multiplier_2, signed_strata);
      Words stratum = (x >> 1) + (t.tile >> 5);
      stratum -= reinterpret_cast<Words>(stratum >= t.strata) & t.strata;
      x = stratum * 64 + ((load<Words>(t.lane_banks + l) ^ bank) & 31) * 2 + (x & 1);
      if (l + lanes <= t.width) {
        store(out + l, x);
      } else {
        for (int r = 0; l + r < t.width; ++r) out[l + r] = x[r];
      }
    }
  }
}

float with_sign(float x, uint32_t slot) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  bits ^= slot << 31;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

double with_sign(double x, uint32_t slot) {
  uint64_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  bits ^= uint64_t{slot} << 63;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

#if defined(HASHGRAD_ISA_avx512)
void gather_vector(const uint32_t* slots, const float* w, float* out) {
  const Words slot = load<Words>(slots);
  const __m512i value =
      _mm512_mask_i32gather_epi32(__m512i{}, 0xffff, reinterpret_cast<__m512i>(slot >> 1), w, 4);
  store(out, reinterpret_cast<Words>(value) ^ slot << 31);
}
void gather_vector(const uint32_t* slots, const double* w, double* out) {
  for (int half = 0; half < 2; ++half, slots += 8, out += 8) {
    const auto slot = load<Simd<uint32_t, 32>::Vector>(slots);
    const __m512i value =
        _mm512_mask_i32gather_epi64(__m512i{}, 0xff, reinterpret_cast<__m256i>(slot >> 1), w, 8);
    store(out, reinterpret_cast<Longs>(value) ^ __builtin_convertvector(slot, Longs) << 63);
  }
}
#elif defined(__AVX2__)
void gather_vector(const uint32_t* slots, const float* w, float* out) {
  const __m256i slot = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(slots));
  const __m256i value =
      _mm256_i32gather_epi32(reinterpret_cast<const int*>(w), _mm256_srli_epi32(slot, 1), 4);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_xor_si256(value, _mm256_slli_epi32(slot, 31)));
}
void gather_vector(const uint32_t* slots, const double* w, double* out) {
  for (int half = 0; half < 2; ++half, slots += 4, out += 4) {
    const __m128i slot = _mm_loadu_si128(reinterpret_cast<const __m128i*>(slots));
    const __m256i value =
        _mm256_i32gather_epi64(reinterpret_cast<const long long*>(w), _mm_srli_epi32(slot, 1), 8);
    const __m256i sign = _mm256_slli_epi64(_mm256_cvtepu32_epi64(slot), 63);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_xor_si256(value, sign));
  }
}
#else
template <class T>
void gather_vector(const uint32_t* slots, const T* w, T* out) {
  for (int l = 0; l < lanes; ++l) out[l] = with_sign(w[slots[l] >> 1], slots[l]);
}
#endif

template <class T>
void gather(const uint32_t* slots, int64_t n, const T* w, T* out) {
  int64_t e = 0;
  for (; e + lanes <= n; e += lanes) gather_vector(slots + e, w, out + e);
  for (; e < n; ++e) out[e] = with_sign(w[slots[e] >> 1], slots[e]);
}

/// Signs and buckets are worked out in vectors first, so that what is left one by one is load, add, store.
template <class T>
void scatter(const uint32_t* slots, int64_t n, const T* values, T* histogram) {
  constexpr int64_t chunk = 64;
  T addends[chunk];
  uint32_t buckets[chunk];
  for (int64_t begin = 0; begin < n; begin += chunk, slots += chunk, values += chunk) {
    const int64_t count = n - begin < chunk ? n - begin : chunk;
    for (int64_t e = 0; e < count; ++e) {
      addends[e] = with_sign(values[e], slots[e]);
      buckets[e] = slots[e] >> 1;
    }
    for (int64_t e = 0; e < count; ++e) histogram[buckets[e]] += addends[e];
  }
}

}  // namespace

extern const HashTable hash_kernels_table{
    .slots = slots,
    .tile_slots = tile_slots,
    .for_float = {.gather = gather<float>, .scatter = scatter<float>},
    .for_double = {.gather = gather<double>, .scatter = scatter<double>},
};

}  // namespace hashgrad::cpu::HASHGRAD_ISA
