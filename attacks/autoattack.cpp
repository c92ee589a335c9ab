#include "attacks/autoattack.h"

#include "attacks/apgd.h"
#include "attacks/fab.h"
#include "attacks/relay.h"
#include "attacks/square.h"

namespace hashgrad {
namespace {

using Version = AutoAttack::Version;

constexpr std::pair<Version, const char*> version_names[] = {
    {Version::standard, "standard"}, {Version::plus, "plus"}, {Version::rand, "rand"}};

const char* name_of(Version version) { return version_names[static_cast<size_t>(version)].second; }

Version parse_version(const std::string& text) {
  for (const auto& [version, name] : version_names)
    if (text == name) return version;
  fail("autoattack: version '{}' is none of standard, plus, rand", text);
}

std::vector<std::unique_ptr<Attack>> members_of(const AutoAttack::Options& o) {
  constexpr int64_t targets = 9;
  const bool plus = o.version == Version::plus, rand = o.version == Version::rand;
  const int64_t few_targets = o.norm == Norm::l1 && !plus ? 5 : targets;
  const int64_t restarts = plus || (o.norm == Norm::l1 && !rand) ? 5 : 1;
  const auto apgd = [&](const char* loss, int64_t classes) {
    return std::make_unique<Apgd>(Apgd::Options{.norm = o.norm,
                                                .eps = o.eps,
                                                .iters = o.iters,
                                                .restarts = classes > 0 ? 1 : restarts,
                                                .loss = loss,
                                                .targets = classes,
                                                .autoattack = rand,
                                                .seed = o.seed});
  };
  const auto fab = [&](int64_t classes) {
    return std::make_unique<Fab>(Fab::Options{.norm = o.norm,
                                              .eps = o.eps,
                                              .iters = o.iters,
                                              .restarts = classes > 0 ? 1 : restarts,
                                              .targets = classes,
                                              .seed = o.seed});
  };
  auto square = std::make_unique<Square>(
      Square::Options{.norm = o.norm, .eps = o.eps, .iters = o.queries, .seed = o.seed});
  std::vector<std::unique_ptr<Attack>> members;
  members.push_back(apgd("ce", 0));
  if (plus || rand) members.push_back(apgd("dlr", 0));
  if (rand) return members;
  if (plus) {
    members.push_back(fab(0));
    members.push_back(std::move(square));
  }
  members.push_back(apgd("dlr", few_targets));
  members.push_back(fab(targets));
  if (!plus) members.push_back(std::move(square));
  return members;
}

}  // namespace

AutoAttack::AutoAttack(Options options) : options_(options) {
  validate(Threat{options_.norm, options_.eps}, "autoattack", {Norm::linf, Norm::l2, Norm::l1});
  check(options_.eps > 0, "autoattack: eps = 0 leaves nothing to change");
  validate_count(options_.iters, "iters", "autoattack");
  validate_count(options_.queries, "queries", "autoattack", 100'000'000);
  members_ = members_of(options_);
}

std::string AutoAttack::repr() const {
  return fmt::format(
      "AutoAttack({{.norm = Norm::{}, .eps = {}, .version = AutoAttack::Version::{}, .iters = {}, .queries = "
      "{}, .seed = {}}})",
      hashgrad::name_of(options_.norm), options_.eps, name_of(options_.version), options_.iters,
      options_.queries, options_.seed);
}

/// How a member asks.
OracleOptions AutoAttack::asked_by(const Attack& member, const Oracle& oracle) const {
  constexpr int64_t authors_draws = 20;
  OracleOptions asked = oracle.options();
  if (!member.uses_gradients()) asked.surrogate = nullptr, asked.stand_ins = false;
  asked.draws.rehearsal = true;
  if (options_.version == Version::rand && asked.draws.count == 1) asked.draws.count = authors_draws;
  return asked;
}

Crafted AutoAttack::craft(const Oracle& oracle, const AttackInput& input) const {
  const bool rand = options_.version == Version::rand;
  check(oracle.model().classes() >= (rand ? 3 : 4), "autoattack: {}, the model has {}",
        rand ? "apgd-dlr needs 3 classes" : "apgd-t needs 4 classes", oracle.model().classes());
  return relay(members_, oracle, input, Keeps::first,
               [&](const Attack& member) { return asked_by(member, oracle); })
      .crafted;
}

AttackInfo AutoAttack::info() {
  return {"autoattack",
          "apgd-ce, apgd-t, fab-t, square, each on what resisted those before (Croce and Hein, ICML 2020)",
          {eps_setting(0.3), norm_setting("linf", {"linf", "l2", "l1"}),
           AttackSetting::word("version", "standard", {"standard", "plus", "rand"},
                               "which attacks, how many restarts; rand: of randomised models"),
           iters_setting(100), AttackSetting::integer("queries", 5000, 1, 100'000'000, "steps of square")},
          [](const AttackSettings& s) -> std::unique_ptr<Attack> {
            return std::make_unique<AutoAttack>(Options{.norm = parse_norm(s.word("norm")),
                                                        .eps = s.number("eps"),
                                                        .version = parse_version(s.word("version")),
                                                        .iters = s.integer("iters"),
                                                        .queries = s.integer("queries"),
                                                        .seed = s.seed()});
          },
          {"eps=0.05,iters=3,queries=10", "norm=l2,eps=0.3,version=plus,iters=2,queries=5",
           "norm=l1,eps=2,iters=3,queries=10", "eps=0.05,version=rand,iters=3"}};
}

}  // namespace hashgrad
