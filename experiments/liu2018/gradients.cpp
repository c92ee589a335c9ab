// Figures 7 and 9: how large input gradients are, in compressed networks and under gradient inhibition.
#include "experiments/liu2018/figures.h"
#include "experiments/study/gradient_plot.h"

namespace hashgrad::liu2018 {
namespace {

using report::Plot;
using report::Table;

/// The paper's two kinds of gradients.
Rate large(const GradientHistogram& h) { return h.between(1e-10, 1); }
Rate small(const GradientHistogram& h) { return h.between(1e-25, 1e-15); }
/// Nearly none: below all of the paper's bins, exact zeros included.
Rate vanished(const GradientHistogram& h) {
  return {h.zeros + h.below + h.between(1e-45, 1e-25).hits, h.images};
}

/// Zero, small, large.
std::vector<std::string> shares_of(const std::optional<GradientHistogram>& h) {
  if (!h) return {study::not_run, study::not_run, study::not_run};
  return {study::shown(h->zero_share()), study::shown(small(*h)), study::shown(large(*h))};
}

std::string note(const Experiment& e) {
  return fmt::format(
      "Mean over an image's pixels; n = {}; brackets: 95 % Wilson interval; zero: every element is exactly "
      "0.",
      e.setup().inhibited);
}

/// Whether a share moves from the uncompressed network to the most compressed one as in the paper.
std::string compressed_finding(Experiment& e, const std::string& what, Rate (*of)(const GradientHistogram&),
                               double paper_from, double paper_to) {
  const std::vector<Subject>& subjects = e.setup().subjects;
  const std::string claim =
      fmt::format("A-F7: {} gradients go from about {:g} % of the images to {:g} % in {}.", what, paper_from,
                  paper_to, subjects.back().name);
  const std::optional<GradientHistogram> plain = e.gradients(subjects[0], {}),
                                         hashed = e.gradients(subjects.back(), {});
  if (!plain || !hashed) return study::unjudged(claim);
  const double change = 100 * (of(*hashed).value() - of(*plain).value());
  return study::finding(claim,
                        fmt::format("from {} % to {} %", study::shown(of(*plain)), study::shown(of(*hashed))),
                        half_of(change, paper_to - paper_from));
}

/// Inhibition as weak as the study has it makes gradients smaller than the strongest compression does.
std::string weakest_finding(Experiment& e, const std::string& layers) {
  const Subject &plain = e.setup().subjects[0], &hashed = e.setup().subjects.back();
  const Inhibition weakest{e.setup().taus[1], layers};
  const std::string claim =
      fmt::format("A-F9, {}: under inhibition with tau {:g} fewer gradients are large than in {}.", layers,
                  weakest.tau, hashed.name);
  const std::optional<GradientHistogram> inhibited = e.gradients(plain, weakest),
                                         compressed = e.gradients(hashed, {});
  if (!inhibited || !compressed) return study::unjudged(claim);
  const Rate here = large(*inhibited), there = large(*compressed);
  return study::finding(claim, fmt::format("{} % against {} %", study::shown(here), study::shown(there)),
                        here.value() < there.value());
}

std::string strongest_finding(Experiment& e, const std::string& layers) {
  const Subject& plain = e.setup().subjects[0];
  const Inhibition strongest = e.setup().strongest(layers);
  const std::string claim = fmt::format("A-F9, {}: with growing tau most gradients go to 0.", layers);
  const std::optional<GradientHistogram> h = e.gradients(plain, strongest);
  const std::optional<Attacked> exact = e.hfgsm(plain, strongest, "ce-exact", e.setup().inhibited);
  if (!h || !exact) return study::unjudged(claim);
  return study::finding(claim,
                        fmt::format("at tau {:g} {} % of the images are below 1e-25, {} % exactly 0; along "
                                    "the exact direction, which does not vanish, HFGSM succeeds on {} %",
                                    strongest.tau, study::shown(vanished(*h)), study::shown(h->zero_share()),
                                    study::shown(exact->success())),
                        vanished(*h).value() > 0.5);
}

}  // namespace

study::Part gradients(Experiment& e) {
  Table table{"f7_gradients",
              "Mean |input gradient| of the cross-entropy, % of images (A-F7)",
              {"network", "zero", "[1e-25, 1e-15)", "[1e-10, 1)", "paper, small", "paper, large"},
              {},
              note(e)};
  Plot plot = study::gradient_plot("f7_gradients", "Mean |input gradient| by network (A-F7)");
  for (const Subject& s : e.setup().subjects) {
    const std::optional<GradientHistogram> h = e.gradients(s, {});
    const bool first = s.rate == 0, last = s.name == "HashNet(1/64)";
    std::vector<std::string> row = shares_of(h);
    row.insert(row.begin(), s.name);
    row.insert(row.end(), {first ? "~1" : last ? "~32" : "-", first ? "~68" : last ? "~19" : "-"});
    table.add(row);
    if (h) study::add_bars(plot, s.name, *h);
  }
  return {.tables = {table},
          .plots = {plot},
          .findings = {compressed_finding(e, "large", large, 68, 19),
                       compressed_finding(e, "small", small, 1, 32)}};
}

study::Part inhibited_gradients(Experiment& e) {
  const Subject& plain = e.setup().subjects[0];
  Table table{"f9_gradients",
              "Mean |input gradient| of the uncompressed network under inhibition, % of images (A-F9)",
              {"layers", "tau", "zero", "[1e-25, 1e-15)", "[1e-10, 1)", "exact direction"},
              {},
              note(e) +
                  " exact direction: success of HFGSM along the gradient of the same loss computed without "
                  "underflow."};
  for (const Inhibition& i : e.setup().inhibitions()) {
    const std::optional<Attacked> exact = e.hfgsm(plain, i, "ce-exact", e.setup().inhibited);
    std::vector<std::string> row = shares_of(e.gradients(plain, i));
    row.insert(row.begin(), {i.where(), fmt::format("{:g}", i.tau)});
    row.push_back(study::shown(exact ? std::optional(exact->success()) : std::nullopt));
    table.add(row);
  }
  study::Part part{.tables = {table}};
  for (const std::string& layers : e.setup().layers) {
    Plot plot =
        study::gradient_plot("f9_gradients_" + stem_of(layers),
                             fmt::format("Mean |input gradient| under inhibition of {} (A-F9)", layers));
    for (const double tau : e.setup().taus)
      if (const std::optional<GradientHistogram> h = e.gradients(plain, {tau, layers}))
        study::add_bars(plot, fmt::format("tau {:g}", tau), *h);
    part.plots.push_back(plot);
    part.findings.push_back(weakest_finding(e, layers));
    part.findings.push_back(strongest_finding(e, layers));
  }
  return part;
}

}  // namespace hashgrad::liu2018
