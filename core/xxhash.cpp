#include "core/xxhash.h"

#include <bit>
#include <fmt/format.h>

namespace hashgrad {
namespace {

constexpr uint32_t prime_1 = 0x9e3779b1u;
constexpr uint32_t prime_2 = 0x85ebca77u;
constexpr uint32_t prime_3 = 0xc2b2ae3du;
constexpr uint32_t prime_4 = 0x27d4eb2fu;
constexpr uint32_t prime_5 = 0x165667b1u;

uint32_t byte_at(std::string_view text, size_t at) { return static_cast<unsigned char>(text[at]); }

uint32_t word_at(std::string_view text, size_t at) {
  return byte_at(text, at) | byte_at(text, at + 1) << 8 | byte_at(text, at + 2) << 16 |
         byte_at(text, at + 3) << 24;
}

}  // namespace

uint32_t xxhash32(std::string_view text, uint32_t seed) {
  size_t at = 0;
  uint32_t h = seed + prime_5;
  if (text.size() >= 16) {
    uint32_t lanes[4] = {seed + prime_1 + prime_2, seed + prime_2, seed, seed - prime_1};
    for (; at + 16 <= text.size(); at += 16) {
      for (size_t l = 0; l < 4; ++l) {
        lanes[l] = std::rotl(lanes[l] + word_at(text, at + 4 * l) * prime_2, 13) * prime_1;
      }
    }
    h = std::rotl(lanes[0], 1) + std::rotl(lanes[1], 7) + std::rotl(lanes[2], 12) + std::rotl(lanes[3], 18);
  }
  h += static_cast<uint32_t>(text.size());
  for (; at + 4 <= text.size(); at += 4) h = std::rotl(h + word_at(text, at) * prime_3, 17) * prime_4;
  for (; at < text.size(); ++at) h = std::rotl(h + byte_at(text, at) * prime_5, 11) * prime_1;
  h = (h ^ h >> 15) * prime_2;
  h = (h ^ h >> 13) * prime_3;
  return h ^ h >> 16;
}

std::string text_index(int64_t index) { return fmt::format("{}{}{}", index + 1, index + 2, index + 3); }

uint32_t text_slot(const std::string& key, char kind, uint32_t seed, int64_t buckets) {
  const uint32_t bucket = xxhash32(key + "idx" + kind, seed) % static_cast<uint32_t>(buckets);
  const uint32_t negative = xxhash32(key + "xi_" + kind, seed) % 2 == 0 ? 1 : 0;
  return 2 * bucket + negative;
}

}  // namespace hashgrad
