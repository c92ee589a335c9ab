// Questions that a robustness number has to survive. Each is one function over the evidence, and answers with
// a verdict, the numbers behind it in one sentence, and the images that show it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "attacks/checks/evidence.h"

namespace hashgrad {

/// passed: nothing speaks against the attacks' numbers. masked: the attack fails for a reason other than
/// robustness. inconclusive: a better attack may exist. not_applicable: the question does not arise for this
/// model, the reason says why.
enum class Verdict { passed, masked, inconclusive, not_applicable };
const char* name_of(Verdict verdict);

struct Finding {
  Verdict verdict;
  std::string reason;                 // one sentence, with numbers
  std::vector<int64_t> samples = {};  // sample numbers of the images that show it
};

struct Check {
  std::string id;        // "D7"
  std::string question;  // one line, answered by "yes" when it passes
  Finding (*run)(Evidence& evidence);
};

/// In the order of their numbers.
const std::vector<Check>& all_checks();

/// So many rows of n are more than chance or a borderline case: above 1 %, and two at least.
bool notable(int64_t rows, int64_t n);

// In files by subject; all_checks() lists them.
Finding check_outputs(Evidence& evidence);         // D1   attacks/checks/gradients.cpp
Finding check_zero_gradients(Evidence& evidence);  // D2
Finding check_differences(Evidence& evidence);     // D3
Finding check_scale(Evidence& evidence);           // D4
Finding check_randomness(Evidence& evidence);      // D5   attacks/checks/randomness.cpp
Finding check_function(Evidence& evidence);        // D6
Finding check_iterations(Evidence& evidence);      // D7   attacks/checks/search.cpp
Finding check_budgets(Evidence& evidence);         // D8
Finding check_unbounded(Evidence& evidence);       // D9
Finding check_black_box(Evidence& evidence);       // D10
Finding check_random(Evidence& evidence);          // D11
Finding check_convergence(Evidence& evidence);     // D12
Finding check_returned(Evidence& evidence);        // D13
Finding check_transfer(Evidence& evidence);        // D14  attacks/checks/transfer.cpp
Finding check_worst_case(Evidence& evidence);      // D15  attacks/checks/accounting.cpp
Finding check_losses(Evidence& evidence);          // D16  attacks/checks/search.cpp
Finding check_arithmetic(Evidence& evidence);      // D17  attacks/checks/protocol.cpp
Finding check_budget(Evidence& evidence);          // D18  attacks/checks/accounting.cpp
Finding check_targets(Evidence& evidence);         // D19
Finding check_denominators(Evidence& evidence);    // D20
Finding check_rounding(Evidence& evidence);        // D21  attacks/checks/protocol.cpp
Finding check_controls(Evidence& evidence);        // D22  attacks/checks/controls.cpp

/// What images found without the model's gradients say about these: they hide something if `found` has images
/// that withstand every attack of the ensemble that follows gradients, or a quarter of all images more than
/// the standard attack. `how` opens the reason: "500 questions break".
Finding without_gradients(Evidence& evidence, const std::string& how, const std::vector<bool>& found);

/// The same network, defences included, with logits `scale` times as large; none if no weights of its last
/// layer would do that, or if they would not be finite.
std::optional<Model> with_scaled_logits(const Model& model, double scale);

/// Budgets, as factors of the threat's, of the success-versus-budget curve; the last holds the whole box.
std::vector<double> curve_factors(const Evidence& evidence);
/// The attack of the curve at one of them.
std::string curve_spec(const Evidence& evidence, double factor);
/// Attacks that a randomised model meets along single draws as well as over many; past input transforms, too.
/// None for an ordinary model.
std::vector<std::string> specs_over_draws(const Evidence& evidence);
/// What others are measured against: pgd on the cross-entropy; apgd-ce for l1, where steps of one length are
/// known to be weak (Croce and Hein, ICML 2021).
const char* standard_name(const Evidence& evidence);
/// The papers' attack of one step; none for l0, which has no small steps.
std::optional<std::string> one_step_spec(const Evidence& evidence);
/// The attack without gradients; none for l0.
std::optional<std::string> black_box_spec(const Evidence& evidence);

}  // namespace hashgrad
