// Attacks by name, their settings as text: what the command line, ensembles and reports choose from. An
// attack's own file describes it (`static AttackInfo info()`); attacks/registry.cpp lists them all.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "attacks/attack.h"

namespace hashgrad {

/// One setting of an attack: `--name value` on the command line, `name=value` in a spec.
struct AttackSetting {
  enum class Kind { number, integer, flag, word };

  std::string name;
  Kind kind;
  std::string fallback;                 // what it is when not given; a flag: empty
  std::string help;                     // meaning, unit, source
  double least = 0, most = 0;           // number, integer
  std::vector<std::string> words = {};  // accepted words; none: whatever the attack accepts

  static AttackSetting number(std::string name, double fallback, double least, double most, std::string help);
  static AttackSetting integer(std::string name, int64_t fallback, int64_t least, int64_t most,
                               std::string help);
  static AttackSetting flag(std::string name, std::string help);
  static AttackSetting word(std::string name, std::string fallback, std::vector<std::string> words,
                            std::string help);
};

// Settings that many attacks share, so that they read the same everywhere.
AttackSetting eps_setting(double fallback);
AttackSetting norm_setting(const std::string& fallback = "linf",
                           std::vector<std::string> norms = {"linf", "l2"});
AttackSetting loss_setting(const std::string& fallback = "ce");
AttackSetting iters_setting(int64_t fallback);
AttackSetting kappa_setting(double fallback = 0);
AttackSetting c0_setting(double fallback);
AttackSetting c_steps_setting(int64_t fallback, const std::string& help);
AttackSetting lr_setting(double fallback);
AttackSetting draws_setting(int64_t fallback);

/// What was chosen for one attack: every setting of its list has a value, within its range.
class AttackSettings {
 public:
  /// Defaults for what `given` leaves out. Errors: a name that is not in the list (names those that are),
  /// text that is not a value, a value out of range.
  AttackSettings(const std::string& attack, const std::vector<AttackSetting>& list,
                 const std::map<std::string, std::string>& given, uint64_t seed);

  // The value of a setting of that kind. A name that the attack did not list is an Error.
  double number(const std::string& name) const;
  int64_t integer(const std::string& name) const;
  bool flag(const std::string& name) const;
  /// The same for settings whose default depends on another one: what was given, else `otherwise`.
  double number(const std::string& name, double otherwise) const;
  int64_t integer(const std::string& name, int64_t otherwise) const;
  std::string word(const std::string& name, const std::string& otherwise) const;
  std::string word(const std::string& name) const;
  uint64_t seed() const { return seed_; }

 private:
  std::string attack_;
  std::map<std::string, std::string> values_;
  std::set<std::string> given_;
  uint64_t seed_;
};

struct AttackInfo {
  std::string name;   // as on the command line
  std::string about;  // one line: what it does, and where it comes from
  std::vector<AttackSetting> settings;
  std::function<std::unique_ptr<Attack>(const AttackSettings&)> make;
  /// Settings, "eps=0.1,iters=3", under which the tests hold the attack to what every attack promises: each
  /// short, some successes on a small net, all its rules and norms.
  std::vector<std::string> samples;
};

/// In the order of the documentation: one step, loops, few pixels, smallest distance, ensembles, without
/// gradients.
const std::vector<AttackInfo>& all_attacks();
/// By name; underscores and hyphens are the same. An unknown one is an Error that lists the names.
const AttackInfo& attack_info(const std::string& name);

/// From a spec such as "pgd" or "pgd:eps=0.1,iters=40,no-random-start".
std::unique_ptr<Attack> make_attack(const std::string& spec, uint64_t seed = 0);
std::unique_ptr<Attack> make_attack(const AttackInfo& info, const std::map<std::string, std::string>& given,
                                    uint64_t seed = 0);

}  // namespace hashgrad
