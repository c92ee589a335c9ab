// Curves and histograms by gnuplot, with data and script kept beside the drawing.
#pragma once

#include <string>
#include <vector>

namespace hashgrad::report {

/// One curve, or one set of bars: y over x, or y over the plot's categories when `x` is empty.
struct Series {
  std::string label;
  std::vector<double> x, y;
};

struct Plot {
  std::string name;  ///< stem of its files: NAME.dat, NAME.gp, NAME.svg
  std::string title, x_label, y_label;
  std::vector<Series> series;
  std::vector<std::string> categories;  ///< not empty: a histogram, one group of bars each
};

/// Writes NAME.dat and NAME.gp into `folder` and, where gnuplot is installed, NAME.svg. Returns the SVG with
/// black as currentColor (so that it follows the page it is put into), or an empty string.
std::string draw_plot(const Plot& plot, const std::string& folder);

/// True when `gnuplot` is on the PATH.
bool gnuplot_installed();

}  // namespace hashgrad::report
