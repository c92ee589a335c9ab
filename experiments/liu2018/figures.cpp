#include "experiments/liu2018/figures.h"

namespace hashgrad::liu2018 {

study::Page empty_page() {
  return {"Attacks on compressed networks, and what gradient inhibition does to them",
          "The measurements of Liu et al., ASP-DAC 2018, repeated: a convolutional network and its HashNets "
          "under HFGSM and HJSMA, then networks under gradient inhibition. Numbers marked paper are theirs. "
          "A change is said to be found when it is at least half as large as theirs.",
          {},
          {},
          {},
          {}};
}

bool half_of(double effect, double paper) { return paper > 0 ? effect >= paper / 2 : effect <= paper / 2; }

std::string short_percent(const std::optional<Rate>& rate) {
  return rate ? report::percent(rate->value()) : study::not_run;
}

std::string width_note(int64_t n) {
  return fmt::format("{}; n = {}; {}.", success_definition, n, study::widest_interval(n));
}

std::string stem_of(const std::string& layers) {
  std::string stem = layers;
  std::erase(stem, ':');
  return stem;
}

}  // namespace hashgrad::liu2018
