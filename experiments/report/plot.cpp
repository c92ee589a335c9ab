#include "experiments/report/plot.h"

#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "core/file.h"

extern char** environ;

namespace hashgrad::report {
namespace {

/// Okabe and Ito's palette: told apart by colour-blind readers, on white and on black.
constexpr const char* colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"};
constexpr size_t colour_count = std::size(colours);

/// From this many points on a curve is drawn without marks, which would hide it.
constexpr size_t many_points = 100;

/// More labels than these would run into each other below a histogram's axis.
constexpr size_t many_labels = 8;

/// Text between double quotes of a gnuplot script.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

/// Histograms: one line per category, one column per series. Curves: one block per series. Heat maps: a
/// matrix.
std::string data_of(const Plot& plot) {
  std::string data;
  for (const std::vector<double>& row : plot.heat.rows) {
    for (const double value : row) data += fmt::format("{:.6g} ", value);
    data += "\n";
  }
  if (!plot.categories.empty()) {
    data += "# category";
    for (const Series& s : plot.series) data += " " + quoted(s.label);
    data += "\n";
    for (size_t i = 0; i < plot.categories.size(); ++i) {
      data += quoted(plot.categories[i]);
      for (const Series& s : plot.series) data += fmt::format(" {:.6g}", s.y.at(i));
      data += "\n";
    }
    return data;
  }
  for (const Series& s : plot.series) {
    data += "# " + s.label + "\n";
    for (size_t i = 0; i < s.x.size(); ++i) data += fmt::format("{:.6g} {:.6g}\n", s.x[i], s.y.at(i));
    data += "\n\n";
  }
  return data;
}

/// Terminal, output, title and labels.
std::string opening_of(const Plot& plot, const char* size) {
  return fmt::format(
      "set terminal svg size {4} dynamic noenhanced font 'sans-serif,13' background 'white'\n"
      "set output '{0}.svg'\n"
      "set title {1}\nset xlabel {2}\nset ylabel {3}\n"
      "set border 3\nset tics nomirror\n",
      plot.name, quoted(plot.title), quoted(plot.x_label), quoted(plot.y_label), size);
}

/// Pixels are drawn one by one: an image would be a file of its own beside the SVG.
std::string heat_script(const Plot& plot) {
  const size_t across = plot.heat.rows.at(0).size() - 1, up = plot.heat.rows.size() - 1;
  return opening_of(plot, "520,430") +
         fmt::format(
             "set size ratio 1\nset palette defined (-1 '{0}', 0 '#ffffff', 1 '{1}')\n"
             "set cbrange [-{2:.6g}:{2:.6g}]\nset xrange [0:1]\nset yrange [0:1]\nunset key\n"
             "plot '{3}.dat' matrix using ($1/{4}):($2/{5}):3 with image pixels\n",
             colours[0], colours[1], plot.heat.most, plot.name, across, up);
}

std::string script_of(const Plot& plot) {
  if (!plot.heat.rows.empty()) return heat_script(plot);
  const bool bars = !plot.categories.empty();
  std::string script = opening_of(plot, "720,430") +
                       "set grid ytics lc '#888888' lw 0.4\nset yrange [0:*]\n"
                       "set key outside bottom center horizontal height 1\n";  // clear of the axis' label
  if (bars)
    script += fmt::format(
        "set style data histogram\nset style histogram clustered gap 1\nset style fill solid 0.9\n"
        "set xtics scale 0{}\n",
        plot.categories.size() > many_labels ? " rotate by -40" : "");
  script += "plot ";
  for (size_t i = 0; i < plot.series.size(); ++i) {
    const char* colour = colours[i % colour_count];
    const std::string label = quoted(plot.series[i].label);
    const bool marked = plot.series[i].x.size() < many_points;
    if (i) script += ", \\\n     ";
    if (bars)
      script += fmt::format("'{}.dat' using {}:xtic(1) title {} lc '{}'", plot.name, i + 2, label, colour);
    else
      script += fmt::format("'{}.dat' index {} with {} title {} lc '{}' lw 2{}{}", plot.name, i,
                            marked ? "linespoints" : "lines", label, colour, marked ? " pt 7 ps 0.5" : "",
                            i < colour_count ? "" : " dt 2");
  }
  return script + "\n";
}

std::string find_gnuplot() {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string candidate = folder + "/gnuplot";
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return {};
}

/// Runs gnuplot on NAME.gp inside `folder`; true when it succeeded.
bool run_gnuplot(const std::string& program, const std::string& folder, const std::string& script) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  std::string name = "gnuplot", file = script;
  char* arguments[] = {name.data(), file.data(), nullptr};
  pid_t child = 0;
  const int refused = posix_spawn(&child, program.c_str(), &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  int status = 0;
  return refused == 0 && ::waitpid(child, &status, 0) == child && WIFEXITED(status) &&
         WEXITSTATUS(status) == 0;
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

/// Drops the XML prologue and the white ground, and lets what is black follow the page's text colour.
std::string inline_form(std::string svg) {
  const size_t begin = svg.find("<svg");
  if (begin == std::string::npos) return {};
  svg.erase(0, begin);
  constexpr std::string_view white = "fill=\"#ffffff\"/>";
  if (const size_t ground = svg.find(white); ground != std::string::npos)
    svg.replace(ground, white.size(), "fill=\"none\"/>");
  for (const char* black :
       {"\"black\"", "'black'", "\"rgb(0,0,0)\"", "\"rgb(  0,   0,   0)\"", "\"#000000\""})
    replace_all(svg, black, "\"currentColor\"");
  return svg;
}

}  // namespace

bool gnuplot_installed() { return !find_gnuplot().empty(); }

std::string draw_plot(const Plot& plot, const std::string& folder) {
  write_file(folder + "/" + plot.name + ".dat", data_of(plot));
  write_file(folder + "/" + plot.name + ".gp", script_of(plot));
  const std::string program = find_gnuplot();
  if (program.empty() || !run_gnuplot(program, folder, plot.name + ".gp")) return {};
  return inline_form(read_file(folder + "/" + plot.name + ".svg"));
}

}  // namespace hashgrad::report
