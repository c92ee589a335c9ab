#include "autograd/op_info.h"

#include <algorithm>

namespace hashgrad {
namespace {

std::vector<OpInfo>& rows() {
  static std::vector<OpInfo> r;
  return r;
}

}  // namespace

RegisterOp::RegisterOp(OpInfo info) {
  check(!info.samples.empty() && info.call, "op '{}': its row has no samples", info.name);
  auto& r = rows();
  const auto place = std::find_if(r.begin(), r.end(), [&](const OpInfo& o) { return o.name >= info.name; });
  check(place == r.end() || place->name != info.name, "op '{}' is registered twice", info.name);
  r.insert(place, std::move(info));
}

const std::vector<OpInfo>& all_ops() { return rows(); }

}  // namespace hashgrad
