// xxHash32, a digest of bytes, and the text keys by which the original HashedNets release placed its weights
// with it (HashMode::xxhash).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hashgrad {

/// xxHash, 32-bit variant (its public specification, version 0.1.1), of the bytes of `text`.
uint32_t xxhash32(std::string_view text, uint32_t seed);

/// Three consecutive numbers from `index + 1` on, written one after the other: 8 gives "91011".
std::string text_index(int64_t index);

/// Signed slot (bucket = slot >> 1, negative if slot & 1) of the weight or bias whose key is `key`, for
/// instance text_index(i) + "_" + text_index(j): bucket = xxhash32(key + "idx" + kind) mod K, and the weight
/// is negative if xxhash32(key + "xi_" + kind) is even. `kind` is 'W' for weights and 'B' for biases.
uint32_t text_slot(const std::string& key, char kind, uint32_t seed, int64_t buckets);

}  // namespace hashgrad
