#include "attacks/growing.h"

#include <algorithm>
#include <fmt/ranges.h>

#include "attacks/relay.h"

namespace hashgrad {
namespace {

/// The setting that bounds the perturbation.
std::string budget_of(const AttackInfo& info) {
  for (const char* name : {"eps", "gamma"})
    if (std::any_of(info.settings.begin(), info.settings.end(), [=](auto& s) { return s.name == name; }))
      return name;
  fail("{}: has no budget to grow, neither eps nor gamma", info.name);
}

}  // namespace

Growing::Growing(const AttackInfo& info, const std::map<std::string, std::string>& given,
                 const std::vector<double>& budgets, uint64_t seed)
    : name_(info.name), budgets_(budgets) {
  check(!budgets.empty(), "growing {}: no budgets", name_);
  const std::string budget = budget_of(info);
  check(!given.contains(budget), "growing {}: {} is given beside the budgets, which are its values", name_,
        budget);
  for (size_t i = 0; i < budgets.size(); ++i) {
    check(i == 0 || budgets[i] > budgets[i - 1], "growing {}: budget {} after {}, ascending ones expected",
          name_, budgets[i], budgets[i - 1]);
    std::map<std::string, std::string> settings = given;
    settings[budget] = fmt::format("{}", budgets[i]);
    members_.push_back(make_attack(info, settings, seed));
  }
}

std::string Growing::repr() const {
  return fmt::format("Growing({}: {})", fmt::join(budgets_, ", "), members_.back()->repr());
}

Crafted Growing::craft(const Oracle& oracle, const AttackInput& input) const {
  // A rehearsal, so that the draws which judge the result have not chosen its budget.
  OracleOptions asked = oracle.options();
  asked.draws.rehearsal = true;
  Relayed relayed = relay(members_, oracle, input, Keeps::last, [&](const Attack&) { return asked; });
  Crafted& out = relayed.crafted;
  for (size_t row = 0; row < out.status.size(); ++row) {
    // What none broke in rehearsal has the image of the largest budget, on which other draws may judge
    // otherwise.
    const int64_t member = relayed.broken_by[row], smallest = member >= 0 ? member : std::ssize(members_) - 1;
    out.first_success[row] = out.status[row] == Status::already_wrong ? 0 : smallest + 1;
  }
  return std::move(out);
}

}  // namespace hashgrad
