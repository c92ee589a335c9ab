// Figures 8 and 10: what gradient inhibition costs, and what it does to HFGSM as published and along the
// exact direction of the same loss.
#include <algorithm>
#include <cmath>

#include "experiments/liu2018/figures.h"

namespace hashgrad::liu2018 {
namespace {

using report::percent;
using report::Plot;
using report::Series;
using report::Table;

constexpr double same_level = 1;  // points of accuracy up or down that pass for A-F8's "same level"

/// A-F10a or A-F10b: mean success over all networks without inhibition and with this tau, %.
struct Paper {
  const char *figure, *name, *title;
  double before, tau, after;
  int networks;
};
constexpr Paper on_mnist{"A-F10a", "f10a_inhibition", "HFGSM, eps grown to 0.5", 87.99, 0.1, 4.77, 5};
/// The paper does not say at which tau: taken to be the largest of A-F8.
constexpr Paper on_cifar{"A-F10b", "f10b_inhibition", "FGSM", 86.74, 0.5, 4.64, 4};
/// A-F10a and its text, of the uncompressed network; and what all HashNets stay below.
constexpr double plain_before = 95.81, plain_after = 1.24, hashed_below = 10;

bool equal(double a, double b) { return std::abs(a - b) < 1e-12; }

/// The paper's number for one network.
std::string paper_number(const Paper& paper, const Subject& s, double tau) {
  if (&paper != &on_mnist || (tau != 0 && !equal(tau, paper.tau))) return "-";
  if (s.rate > 0) return tau == 0 ? "-" : fmt::format("< {:g}", hashed_below);
  return fmt::format("{:g}", tau == 0 ? plain_before : plain_after);
}

/// The paper's mean.
std::string paper_mean(const Paper& paper, double tau) {
  if (tau != 0 && !equal(tau, paper.tau)) return "-";
  return fmt::format("{:g} (of {})", tau == 0 ? paper.before : paper.after, paper.networks);
}

/// One network under one inhibition.
struct Point {
  Rate accuracy, success, zero, exact;
};

std::optional<Point> point_of(Experiment& e, const Subject& s, const Inhibition& inhibition) {
  const int64_t n = e.setup().inhibited;
  const std::optional<Rate> accuracy = e.accuracy(s, inhibition, n);
  const std::optional<Attacked> published = e.hfgsm(s, inhibition, "ce", n),
                                exact = e.hfgsm(s, inhibition, "ce-exact", n);
  if (!accuracy || !published || !exact) return std::nullopt;
  return Point{*accuracy, published->success(), published->zero, exact->success()};
}

/// The same in %, of one network or in the mean of several.
struct Percentages {
  double accuracy = 0, success = 0, zero = 0, exact = 0;

  void add(const Point& p, double weight) {
    accuracy += weight * 100 * p.accuracy.value();
    success += weight * 100 * p.success.value();
    zero += weight * 100 * p.zero.value();
    exact += weight * 100 * p.exact.value();
  }
};

/// Of these subjects; nothing unless all of their cells were run.
std::optional<Percentages> mean_of(Experiment& e, const std::vector<Subject>& subjects,
                                   const Inhibition& inhibition) {
  Percentages mean;
  bool whole = true;
  for (const Subject& s : subjects) {
    const std::optional<Point> point = point_of(e, s, inhibition);
    whole = whole && point;
    if (point) mean.add(*point, 1 / static_cast<double>(subjects.size()));
  }
  return whole ? std::optional(mean) : std::nullopt;
}

void add_row(Table& table, const Subject& s, const Inhibition& inhibition, const std::optional<Point>& point,
             const std::string& paper) {
  const auto cell = [&](Rate Point::*rate) {
    return study::shown(point ? std::optional((*point).*rate) : std::nullopt);
  };
  table.add({s.name, inhibition.where(), fmt::format("{:g}", inhibition.tau), cell(&Point::accuracy),
             cell(&Point::success), paper, cell(&Point::zero), cell(&Point::exact)});
}

void add_mean(Table& table, Experiment& e, const Inhibition& inhibition, const std::string& paper) {
  const std::vector<Subject>& subjects = e.setup().subjects;
  const std::optional<Percentages> mean = mean_of(e, subjects, inhibition);
  const auto cell = [&](double Percentages::*share) {
    return mean ? fmt::format("{:.2f}", (*mean).*share) : std::string(study::not_run);
  };
  table.add({fmt::format("mean of {}", subjects.size()), inhibition.where(),
             fmt::format("{:g}", inhibition.tau), cell(&Percentages::accuracy), cell(&Percentages::success),
             paper, cell(&Percentages::zero), cell(&Percentages::exact)});
}

Table inhibition_table(Experiment& e, const Paper& paper) {
  const Setup& setup = e.setup();
  Table table{
      paper.name,
      fmt::format("Gradient inhibition: success, %, of {} ({})", paper.title, paper.figure),
      {"network", "layers", "tau", "accuracy", "success", "paper", "zero gradients", "exact direction"},
      {},
      {}};
  for (const Subject& s : setup.subjects)
    for (const Inhibition& i : setup.inhibitions())
      add_row(table, s, i, point_of(e, s, i), paper_number(paper, s, i.tau));
  for (const Inhibition& i : setup.inhibitions()) add_mean(table, e, i, paper_mean(paper, i.tau));
  table.note = fmt::format(
      "eps {:.3g}; zero gradients: images whose cross-entropy gradient is exactly 0, so that nothing moves "
      "(in float32 once the largest logit leads by about 104, so the tau it takes depends on how long a "
      "network was trained); exact direction: the same attack along the direction of the cross-entropy "
      "computed without underflow; {}; n = {}; brackets: 95 % Wilson interval.",
      setup.eps.back(), success_definition, setup.inhibited);
  return table;
}

Plot inhibition_plot(Experiment& e, const Paper& paper, const std::string& layers) {
  Plot plot{fmt::format("{}_{}", paper.name, stem_of(layers)),
            fmt::format("{} under inhibition of {} ({})", paper.title, layers, paper.figure),
            "tau",
            "success, %",
            {},
            {}};
  for (const Subject& s : e.setup().subjects) {
    Series published{s.name, {}, {}}, exact{s.name + ", exact direction", {}, {}};
    for (const double tau : e.setup().taus)
      if (const std::optional<Point> point = point_of(e, s, {tau, layers})) {
        published.add(tau, 100 * point->success.value());
        exact.add(tau, 100 * point->exact.value());
      }
    plot.series.push_back(published);
    plot.series.push_back(exact);
  }
  return plot;
}

/// The claim is of the paper's tau; with another one, as in a brief demo, it is not put to the test.
std::string held(bool yes, double tau, double paper_tau) {
  if (equal(tau, paper_tau)) return yes ? "it held" : "it did not hold";
  return yes ? "it holds with this tau" : "it does not hold with this tau";
}

/// Whether success falls as in the paper, by the published attack and by the same one that underflow does not
/// stop.
std::string fall_finding(Experiment& e, const std::vector<Subject>& subjects, const std::string& claim,
                         const std::string& layers, double paper_tau, double paper_fall) {
  const Inhibition strongest = e.setup().strongest(layers);
  const std::optional<Percentages> from = mean_of(e, subjects, {}), to = mean_of(e, subjects, strongest);
  if (!from || !to) return study::unjudged(claim);
  return fmt::format(
      "{} Measured with tau {:g}: from {:.2f} to {:.2f} %, where {:.2f} % of the gradients are exactly 0: as "
      "published, {}. Along the exact direction of the same loss from {:.2f} to {:.2f} %: there {}.",
      claim, strongest.tau, from->success, to->success, to->zero,
      held(half_of(from->success - to->success, paper_fall), strongest.tau, paper_tau), from->exact,
      to->exact, held(half_of(from->exact - to->exact, paper_fall), strongest.tau, paper_tau));
}

std::string hashed_finding(Experiment& e, const std::string& layers) {
  const Inhibition strongest = e.setup().strongest(layers);
  const std::string claim =
      fmt::format("A-F10a, {}: under inhibition with tau {:g} success is below {:g} % on every HashNet.",
                  layers, on_mnist.tau, hashed_below);
  double success = 0, zero = 100, exact = 0;
  for (const Subject& s : e.setup().subjects) {
    if (s.rate == 0) continue;
    const std::optional<Point> point = point_of(e, s, strongest);
    if (!point) return study::unjudged(claim);
    success = std::max(success, 100 * point->success.value());
    zero = std::min(zero, 100 * point->zero.value());
    exact = std::max(exact, 100 * point->exact.value());
  }
  return fmt::format(
      "{} Measured with tau {:g}: at most {:.2f} %, with at least {:.2f} % of the gradients exactly 0: as "
      "published, {}. Along the exact direction at most {:.2f} %: there {}.",
      claim, strongest.tau, success, zero, held(success < hashed_below, strongest.tau, on_mnist.tau), exact,
      held(exact < hashed_below, strongest.tau, on_mnist.tau));
}

study::Part inhibition_part(Experiment& e, const Paper& paper) {
  study::Part part{.tables = {inhibition_table(e, paper)}};
  for (const std::string& layers : e.setup().layers) {
    part.plots.push_back(inhibition_plot(e, paper, layers));
    part.findings.push_back(fall_finding(
        e, e.setup().subjects,
        fmt::format("{}, {}: inhibition with tau {:g} brings the mean success from {:g} to {:g} %.",
                    paper.figure, layers, paper.tau, paper.before, paper.after),
        layers, paper.tau, paper.before - paper.after));
  }
  return part;
}

/// The same attack on the same images, as published and along the exact direction.
std::vector<study::Picture> inhibited_pictures(Experiment& e) {
  const Inhibition inhibition = e.setup().strongest(e.setup().layers.back());
  const Gallery published{
      .name = "uncompressed_gi1_ce",
      .caption = fmt::format("The uncompressed network under gradient inhibition (tau {:g}, {}), HFGSM at "
                             "eps 0.3 with the float32 cross-entropy: where the middle row is plain gray, "
                             "the gradient is exactly zero and no attack took place.",
                             inhibition.tau, inhibition.layers),
      .inhibition = inhibition,
      .loss = "ce",
      .budget = 0.3};
  Gallery exact = published;
  exact.name = "uncompressed_gi1_exact";
  exact.caption = "The same network and eps along the exact cross-entropy direction.";
  exact.loss = "ce-exact";
  std::vector<study::Picture> pictures;
  for (const Gallery& gallery : {published, exact})
    if (const std::optional<std::string> png = e.picture(e.setup().subjects[0], gallery))
      pictures.push_back({gallery.name, gallery.caption, *png});
  return pictures;
}

std::string accuracy_finding(Experiment& e, const std::string& layers) {
  const std::string claim = fmt::format(
      "A-F8, {}: inhibition leaves accuracy at the same level (taken as: within {:g} point, each network at "
      "each tau).",
      layers, same_level);
  double most = 0;
  std::string where = "nowhere";
  for (const Subject& s : e.setup().subjects)
    for (const double tau : e.setup().taus) {
      const std::optional<Rate> plain = e.accuracy(s, {}, e.setup().tested),
                                inhibited = e.accuracy(s, {tau, layers}, e.setup().tested);
      if (!plain || !inhibited) return study::unjudged(claim);
      const double change = 100 * (inhibited->value() - plain->value());
      if (std::abs(change) > std::abs(most)) most = change, where = fmt::format("{}, tau {:g}", s.name, tau);
    }
  return study::finding(claim, fmt::format("the largest change is {:+.2f} points ({})", most, where),
                        std::abs(most) <= same_level);
}

}  // namespace

study::Part inhibited_accuracy(Experiment& e) {
  const Setup& setup = e.setup();
  Table table{"f8_accuracy", "Clean accuracy under inhibition, % (A-F8)", {"layers", "network"}, {}, {}};
  for (const double tau : setup.taus) table.columns.push_back(fmt::format("tau {:g}", tau));
  study::Part part;
  for (const std::string& layers : setup.layers) {
    Plot plot{"f8_accuracy_" + stem_of(layers),
              fmt::format("Clean accuracy under inhibition of {} (A-F8)", layers),
              "tau",
              "accuracy, %",
              {},
              {}};
    for (const Subject& s : setup.subjects) {
      std::vector<std::string> row{layers, s.name};
      Series series{s.name, {}, {}};
      for (const double tau : setup.taus) {
        const std::optional<Rate> accuracy = e.accuracy(s, {tau, layers}, setup.tested);
        row.push_back(study::shown(accuracy));
        if (!accuracy) continue;
        series.add(tau, 100 * accuracy->value());
      }
      table.add(row);
      plot.series.push_back(series);
    }
    part.plots.push_back(plot);
    part.findings.push_back(accuracy_finding(e, layers));
  }
  table.note = fmt::format(
      "n = {}; brackets: 95 % Wilson interval. The paper shows curves only; what this inhibition is worth "
      "stands in figure 10.",
      setup.tested);
  part.tables.push_back(table);
  return part;
}

study::Part inhibition(Experiment& e) {
  study::Part part = inhibition_part(e, on_mnist);
  for (const std::string& layers : e.setup().layers) {
    part.findings.push_back(fall_finding(e, {e.setup().subjects[0]},
                                         fmt::format("A-F10a, {}: inhibition with tau {:g} brings success on "
                                                     "the uncompressed network from {:g} to {:g} %.",
                                                     layers, on_mnist.tau, plain_before, plain_after),
                                         layers, on_mnist.tau, plain_before - plain_after));
    part.findings.push_back(hashed_finding(e, layers));
  }
  part.pictures = inhibited_pictures(e);
  return part;
}

study::Part inhibition_in_colour(Experiment& e) { return inhibition_part(e, on_cifar); }

}  // namespace hashgrad::liu2018
