#include "attacks/registry.h"

#include <algorithm>
#include <cmath>
#include <fmt/ranges.h>

#include "attacks/apgd.h"
#include "attacks/autoattack.h"
#include "attacks/cw_l0.h"
#include "attacks/cw_l2.h"
#include "attacks/cw_linf.h"
#include "attacks/deepfool.h"
#include "attacks/ead.h"
#include "attacks/fab.h"
#include "attacks/fgm.h"
#include "attacks/fgsm.h"
#include "attacks/hop_skip_jump.h"
#include "attacks/ifgm.h"
#include "attacks/jsma.h"
#include "attacks/mim.h"
#include "attacks/pgd.h"
#include "attacks/random_noise.h"
#include "attacks/square.h"
#include "attacks/zoo.h"
#include "core/settings.h"

namespace hashgrad {
namespace {

using Kind = AttackSetting::Kind;

void check_value(const std::string& attack, const AttackSetting& setting, const std::string& text) {
  const std::string what = attack + ": " + setting.name;
  if (setting.kind == Kind::number || setting.kind == Kind::integer) {
    const double value = parse_number(text, what, setting.least, setting.most);
    check(setting.kind == Kind::number || value == std::floor(value), "{} is {}, an integer is expected",
          what, text);
  } else if (setting.kind == Kind::flag) {
    check(text.empty(), "{} is a flag and takes no value", what);
  } else if (!setting.words.empty()) {
    check(std::find(setting.words.begin(), setting.words.end(), text) != setting.words.end(),
          "{} is '{}'; accepted: {}", what, text, fmt::join(setting.words, ", "));
  }
}

std::string hyphenated(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

}  // namespace

AttackSetting AttackSetting::number(std::string name, double fallback, double least, double most,
                                    std::string help) {
  return {std::move(name), Kind::number, fmt::format("{}", fallback), std::move(help), least, most};
}

AttackSetting AttackSetting::integer(std::string name, int64_t fallback, int64_t least, int64_t most,
                                     std::string help) {
  return {std::move(name),
          Kind::integer,
          std::to_string(fallback),
          std::move(help),
          static_cast<double>(least),
          static_cast<double>(most)};
}

AttackSetting AttackSetting::flag(std::string name, std::string help) {
  return {std::move(name), Kind::flag, "", std::move(help)};
}

AttackSetting AttackSetting::word(std::string name, std::string fallback, std::vector<std::string> words,
                                  std::string help) {
  return {std::move(name), Kind::word, std::move(fallback), std::move(help), 0, 0, std::move(words)};
}

AttackSetting eps_setting(double fallback) {
  return AttackSetting::number("eps", fallback, 0, 1e30, "size of the perturbation, in pixels of [0,1]");
}

AttackSetting norm_setting(const std::string& fallback, std::vector<std::string> norms) {
  return AttackSetting::word("norm", fallback, std::move(norms), "ball, or distance");
}

AttackSetting loss_setting(const std::string& fallback) {
  return AttackSetting::word("loss", fallback, {"ce", "ce-exact", "margin", "dlr", "ce-sigmoid"},
                             "what is differentiated");
}

AttackSetting iters_setting(int64_t fallback) {
  return AttackSetting::integer("iters", fallback, 1, 1'000'000, "steps");
}

AttackSetting kappa_setting(double fallback) {
  return AttackSetting::number("kappa", fallback, 0, 1e30, "lead of the wanted class, in logits");
}

AttackSetting c0_setting(double fallback) {
  return AttackSetting::number("c0", fallback, 1e-30, 1e10,
                               "first weight of the logits against the distance");
}

AttackSetting c_steps_setting(int64_t fallback, const std::string& help) {
  return AttackSetting::integer("c-steps", fallback, 1, 1'000'000, help);
}

AttackSetting lr_setting(double fallback) {
  return AttackSetting::number("lr", fallback, 1e-30, 1e30, "learning rate");
}

AttackSetting draws_setting(int64_t fallback) {
  return AttackSetting::integer("draws", fallback, 1, 10'000'000, "random images tried for each row");
}

AttackSettings::AttackSettings(const std::string& attack, const std::vector<AttackSetting>& list,
                               const std::map<std::string, std::string>& given, uint64_t seed)
    : attack_(attack), seed_(seed) {
  for (const AttackSetting& setting : list)
    if (setting.kind != Kind::flag) values_[setting.name] = setting.fallback;
  for (const auto& [name, text] : given) {
    const auto found =
        std::find_if(list.begin(), list.end(), [&](const auto& s) { return s.name == hyphenated(name); });
    std::vector<std::string> known;
    for (const AttackSetting& setting : list) known.push_back(setting.name);
    check(found != list.end(), "{}: '{}' is not one of its settings ({})", attack, name,
          fmt::join(known, ", "));
    check_value(attack, *found, text);
    values_[found->name] = text;
    given_.insert(found->name);
  }
}

double AttackSettings::number(const std::string& name) const {
  return parse_number(word(name), name, -1e300, 1e300);
}

int64_t AttackSettings::integer(const std::string& name) const { return static_cast<int64_t>(number(name)); }

double AttackSettings::number(const std::string& name, double otherwise) const {
  return given_.contains(name) ? number(name) : otherwise;
}

int64_t AttackSettings::integer(const std::string& name, int64_t otherwise) const {
  return given_.contains(name) ? integer(name) : otherwise;
}

std::string AttackSettings::word(const std::string& name, const std::string& otherwise) const {
  return given_.contains(name) ? word(name) : otherwise;
}

bool AttackSettings::flag(const std::string& name) const { return values_.contains(name); }

std::string AttackSettings::word(const std::string& name) const {
  const auto found = values_.find(name);
  check(found != values_.end(), "{}: reads the setting '{}', which it does not list", attack_, name);
  return found->second;
}

const std::vector<AttackInfo>& all_attacks() {
  static const std::vector<AttackInfo> rows = {
      Fgsm::info(),      Fgm::info(),         Pgd::bim_info(),     Pgd::info(),        Mim::info(),
      Ifgm::sign_info(), Ifgm::info(),        Apgd::ce_info(),     Apgd::dlr_info(),   Apgd::targets_info(),
      Jsma::info(),      CwL0::info(),        CwL2::info(),        CwLinf::info(),     Ead::info(),
      DeepFool::info(),  Fab::info(),         Fab::targets_info(), AutoAttack::info(), Square::info(),
      Zoo::info(),       HopSkipJump::info(), RandomNoise::info()};
  return rows;
}

const AttackInfo& attack_info(const std::string& name) {
  std::vector<std::string> names;
  for (const AttackInfo& info : all_attacks()) {
    if (info.name == hyphenated(name)) return info;
    names.push_back(info.name);
  }
  fail("attack '{}' is not known; accepted: {}", name, fmt::join(names, ", "));
}

std::unique_ptr<Attack> make_attack(const std::string& spec, uint64_t seed) {
  const size_t colon = spec.find(':');
  std::map<std::string, std::string> given;
  if (colon != std::string::npos) {
    for (const std::string& setting : split_at(std::string_view(spec).substr(colon + 1), ',')) {
      const size_t equals = setting.find('=');
      const std::string name = setting.substr(0, equals);
      check(given.emplace(name, equals == std::string::npos ? "" : setting.substr(equals + 1)).second,
            "attack '{}': {} is given twice", spec, name);
    }
  }
  return make_attack(attack_info(spec.substr(0, colon)), given, seed);
}

std::unique_ptr<Attack> make_attack(const AttackInfo& info, const std::map<std::string, std::string>& given,
                                    uint64_t seed) {
  return info.make(AttackSettings(info.name, info.settings, given, seed));
}

}  // namespace hashgrad
