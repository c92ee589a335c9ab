// Curves, histograms and heat maps by gnuplot, with data and script kept beside the drawing.
#pragma once

#include <string>
#include <vector>

namespace hashgrad::report {

/// One curve, or one set of bars: y over x, or y over the plot's categories when `x` is empty.
struct Series {
  std::string label;
  std::vector<double> x, y;

  void add(double at, double value) {
    x.push_back(at);
    y.push_back(value);
  }
};

/// Values over the unit square: the first row along its lower edge, the first value of a row at the left.
struct HeatMap {
  std::vector<std::vector<double>> rows{};  ///< at least two, of one length, at least two
  double most = 1;                          ///< the colours run from -most to most, zero is white
};

struct Plot {
  std::string name;  ///< stem of its files: NAME.dat, NAME.gp, NAME.svg
  std::string title, x_label, y_label;
  std::vector<Series> series;
  std::vector<std::string> categories;  ///< not empty: a histogram, one group of bars each
  HeatMap heat{};                       ///< with rows: drawn alone, without series
};

/// Writes NAME.dat and NAME.gp into `folder` and, where gnuplot is installed, NAME.svg. Returns the SVG with
/// black as currentColor (so that it follows the page it is put into), or an empty string.
std::string draw_plot(const Plot& plot, const std::string& folder);

/// True when `gnuplot` is on the PATH.
bool gnuplot_installed();

}  // namespace hashgrad::report
