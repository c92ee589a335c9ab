#include "compression/huffman.h"

#include <functional>
#include <queue>
#include <utility>

namespace hashgrad {

std::vector<int> huffman_lengths(const std::vector<int64_t>& counts) {
  using Item = std::pair<int64_t, size_t>;  // how often, number of the node
  std::priority_queue<Item, std::vector<Item>, std::greater<>> open;
  for (size_t i = 0; i < counts.size(); ++i)
    if (counts[i] > 0) open.emplace(counts[i], i);
  const bool alone = open.size() == 1;
  std::vector<size_t> parent(counts.size());  // leaves, then inner nodes in the order they are made
  while (open.size() > 1) {
    const Item a = open.top();
    open.pop();
    const Item b = open.top();
    open.pop();
    parent[a.second] = parent[b.second] = parent.size();
    open.emplace(a.first + b.first, parent.size());
    parent.push_back(0);
  }
  std::vector<int> depth(parent.size());  // the root, made last, has 0
  for (size_t node = parent.size(); node-- > 0;)
    if (parent[node] > node) depth[node] = depth[parent[node]] + 1;
  depth.resize(counts.size());
  for (size_t i = 0; i < counts.size(); ++i)
    if (alone && counts[i] > 0) depth[i] = 1;
  return depth;
}

int64_t huffman_bits(const std::vector<int64_t>& counts) {
  const std::vector<int> lengths = huffman_lengths(counts);
  int64_t bits = 0;
  for (size_t i = 0; i < counts.size(); ++i) bits += counts[i] * lengths[i];
  return bits;
}

}  // namespace hashgrad
