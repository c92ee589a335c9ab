// Huffman's code, for what it would make of a compressed model's codes.
#pragma once

#include <cstdint>
#include <vector>

namespace hashgrad {

/// Bits of each symbol in a Huffman code for symbols that occur so often. A symbol that does not occur has 0;
/// one that is alone has 1.
std::vector<int> huffman_lengths(const std::vector<int64_t>& counts);

/// Bits of all symbols together.
int64_t huffman_bits(const std::vector<int64_t>& counts);

}  // namespace hashgrad
