#include "attacks/checks/check.h"

namespace hashgrad {

const char* name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::passed:
      return "passed";
    case Verdict::masked:
      return "masked";
    case Verdict::inconclusive:
      return "inconclusive";
    case Verdict::not_applicable:
      break;
  }
  return "not applicable";
}

bool notable(int64_t rows, int64_t n) { return rows >= 2 && 100 * rows > n; }

const std::vector<Check>& all_checks() {
  static const std::vector<Check> checks = {
      {"D1", "Does the model answer with logits, not with probabilities?", check_outputs},
      {"D2", "Do all images have a gradient?", check_zero_gradients},
      {"D3", "Is the gradient the slope that finite differences find?", check_differences},
      {"D4", "Is the success independent of the logits' scale?", check_scale},
      {"D5", "Does the model give the same answer twice?", check_randomness},
      {"D6", "Is the answer to an image a fixed function of that image alone?", check_function},
      {"D7", "Do many small steps find all that one large step finds?", check_iterations},
      {"D8", "Does success rise with the budget, up to every image?", check_budgets},
      {"D9", "Does an attack without a budget always succeed?", check_unbounded},
      {"D10", "Do attacks without gradients find nothing more?", check_black_box},
      {"D11", "Does random search find nothing more?", check_random},
      {"D12", "Do twice the steps and a restart change nothing?", check_convergence},
      {"D13", "Is the best iterate the one returned?", check_returned},
      {"D14", "Do images made on a substitute find nothing more?", check_transfer},
      {"D15", "Is the worst case counted image by image?", check_worst_case},
      {"D16", "Do other losses and step sizes find nothing more?", check_losses},
      {"D17", "Does the attack find the same in double precision?", check_arithmetic},
      {"D18", "Does every image counted lie in the box and the budget?", check_budget},
      {"D19", "Do attacks on every target find nothing more?", check_targets},
      {"D20", "Are there enough images, and is it said of which they are a share?", check_denominators},
      {"D21", "Do the images survive being stored with 8 bits?", check_rounding},
      {"D22", "Would these checks notice masking in this very network?", check_controls}};
  return checks;
}

}  // namespace hashgrad
