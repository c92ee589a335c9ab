#include "cpu/kept_panels.h"

#include <algorithm>
#include <utility>

namespace hashgrad::cpu {
namespace {

thread_local KeepPanels* innermost = nullptr;

}  // namespace

KeepPanels::KeepPanels(std::vector<const void*> matrices)
    : matrices_(std::move(matrices)), outer_(std::exchange(innermost, this)) {}

KeepPanels::~KeepPanels() { innermost = outer_; }

KeepPanels::Found KeepPanels::find(const PackedUse& use, size_t bytes) {
  KeepPanels* keeper = nullptr;  // the outermost one: it lives longest
  for (KeepPanels* k = innermost; k; k = k->outer_)
    if (std::ranges::find(k->matrices_, use.data) != k->matrices_.end()) keeper = k;
  if (!keeper) return {nullptr, false};
  for (const Kept& kept : keeper->kept_)
    if (kept.use == use) return {kept.panels.data(), false};
  return {keeper->kept_.emplace_back(use, bytes).panels.data(), true};
}

}  // namespace hashgrad::cpu
