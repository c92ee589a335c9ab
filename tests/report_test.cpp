// What reports are made of.
#include <array>
#include <cmath>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "core/file.h"
#include "datasets/image_decoder.h"
#include "experiments/progress.h"
#include "experiments/report/html.h"
#include "experiments/report/picture.h"
#include "experiments/report/plot.h"
#include "experiments/report/table.h"
#include "nn/train.h"
#include "tests/error_of.h"
#include "tests/temp_dir.h"

using namespace hashgrad;

TEST_CASE("report: a table's cells are text, numbers and integers in JSON, and quoted in CSV where needed") {
  report::Table table{"t", "A table", {"network", "n", "share", "of 1, %"}, {}, "a note"};
  table.add({"A, \"big\"", "10000", "99.0", report::percent(Rate{1, 4})});
  table.add({"-", "-3", "1e-3", "nan"});
  const nlohmann::ordered_json rows = to_json(table)["rows"];
  CHECK(rows.dump() ==
        "[{\"network\":\"A, \\\"big\\\"\",\"n\":10000,\"share\":99.0,\"of 1, %\":\"25.00 [4.6, 69.9]\"},"
        "{\"network\":\"-\",\"n\":-3,\"share\":0.001,\"of 1, %\":\"nan\"}]");
  CHECK(to_csv(table) ==
        "network,n,share,\"of 1, %\"\n\"A, \"\"big\"\"\",10000,99.0,\"25.00 [4.6, 69.9]\"\n-,-3,1e-3,nan\n");
  CHECK(to_json(table)["note"] == "a note");
  CHECK(report::percent(std::nan("")) == "-");
  report::Table lines{"l", "Lines", {"of\ntext"}, {}, ""};
  CHECK(to_csv(lines) == "\"of\ntext\"\n");
  CHECK_ERROR(table.add({"too short"}), "table t: a row of 1 cells, expected 4");
}

TEST_CASE("report: base64 comes back as it was, and damage is an Error") {
  std::string bytes;
  for (int length = 0; length < 70; ++length) {
    CHECK(report::from_base64(report::base64(bytes)) == bytes);
    bytes += static_cast<char>(length * 37);
  }
  CHECK(report::base64("hash") == "aGFzaA==");
  CHECK_ERROR(report::from_base64("aGFzaA="), "base64: 7 digits");
  CHECK_ERROR(report::from_base64("aG!zaA=="), "base64: character 2 is not a digit");
}

namespace {

report::Table checks() {
  report::Table table{"checks", "Checks", {"", "question", "verdict", "broken", "because"}, {}, "A note."};
  table.add({"D1", "Is it?", "passed", "1.50", ""});
  table.add({"D2", "Are they?", "masked", "not run", "3 of 50"});
  table.add({"D3", "All < some?", "inconclusive", "~68", "none of the images counts"});
  table.add({"D4", "More?", "passed", "-", "too few"});
  return table;
}

}  // namespace

TEST_CASE(
    "report: a column of words is set to the left, one of numbers to the right, by what most cells are") {
  const report::Table table = checks();
  CHECK(table.is_text(0));
  CHECK(table.is_text(1));
  CHECK(table.is_text(2));
  CHECK_FALSE(table.is_text(3));  // three numbers, a bound and a dash among them; one cell of words
  CHECK(table.is_text(4));        // two of words, one that starts with a number
  CHECK(to_text(table) ==
        "Checks\n"
        "      question     verdict        broken  because\n"
        "  D1  Is it?       passed           1.50\n"
        "  D2  Are they?    masked        not run  3 of 50\n"
        "  D3  All < some?  inconclusive      ~68  none of the images counts\n"
        "  D4  More?        passed              -  too few\n"
        "  A note.\n");
  CHECK(to_markdown(table).find("| --- | --- | --- | ---: | --- |\n") != std::string::npos);
  CHECK(to_markdown(table).ends_with("| too few |\n\nA note.\n"));
}

TEST_CASE("report: a page colours verdicts and escapes text") {
  report::HtmlPage page("A & B");
  page.verdict("masked", "x < y");
  page.list({});
  page.list({"one", "two > one"});
  page.table(checks());
  const std::string html = page.html();
  const auto contains = [&](const std::string& part) { return html.find(part) != std::string::npos; };
  CHECK(contains("<h1>A &amp; B</h1>"));
  CHECK(contains("<p class=\"verdict masked\"><strong>masked</strong> x &lt; y</p>"));
  CHECK(contains("<ul>\n<li>one</li>\n<li>two &gt; one</li>\n</ul>\n"));
  CHECK(contains("<td class=\"text inconclusive\">inconclusive</td><td>~68</td>"));
  CHECK(contains("<td class=\"text\">D2</td><td class=\"text\">Are they?</td><td class=\"text masked\">"));
  CHECK_FALSE(contains("<ul>\n</ul>"));
  CHECK(contains("<p class=\"note\">A note.</p>"));
  page.preformatted("a < b");
  page.drawing("", "of nothing");
  page.picture("png", "A \"quoted\" caption");
  CHECK(page.html().find("<pre>a &lt; b</pre>") != std::string::npos);
  CHECK(page.html().find("of nothing") == std::string::npos);
  CHECK(page.html().find("alt=\"A &quot;quoted&quot; caption\"") != std::string::npos);
}

TEST_CASE("report: a grid of images has every pixel in its cell, zoomed, and signs around mid gray") {
  const testing::TempDir folder;
  const auto decoded = [&](const std::vector<report::PictureRow>& rows, int64_t height, int64_t width) {
    write_file(folder / "grid.png", report::png_grid(rows, 2));
    const ImageFile file(folder / "grid.png");
    CHECK(file.header().height == height);
    CHECK(file.header().width == width);
    std::vector<uint8_t> planes(static_cast<size_t>(3 * height * width));
    file.decode(3, planes.data());
    return [=](int64_t y, int64_t x) {
      const auto plane = [&](int64_t c) { return planes[static_cast<size_t>((c * height + y) * width + x)]; };
      return std::array{plane(0), plane(1), plane(2)};
    };
  };
  using Colour = std::array<uint8_t, 3>;
  const Tensor two = Tensor::of<float>({0, 0.2f, 1, 0.4f, 0.6f, 2, 1, 1, 0, 0, -1, 0.8f}, {2, 3, 1, 2});
  const Tensor change = Tensor::of<float>({-2, 1, 0, 0, 2, 0.5f}, {1, 3, 1, 2});
  const auto grid = decoded({{two}, {change, report::Shade::signs}}, 16, 20);  // cells of 2x4, 4 between them
  CHECK(grid(3, 3) == Colour{128, 128, 128});
  for (const int64_t inside : {0, 1}) {
    CHECK(grid(4 + inside, 4 + inside) == Colour{0, 255, 153});
    CHECK(grid(4 + inside, 6 + inside) == Colour{51, 102, 255});
    CHECK(grid(4 + inside, 12 + inside) == Colour{255, 0, 0});
    CHECK(grid(4 + inside, 14 + inside) == Colour{255, 0, 204});
    CHECK(grid(10 + inside, 4 + inside) == Colour{0, 128, 255});
    CHECK(grid(10 + inside, 6 + inside) == Colour{191, 128, 159});
  }
  CHECK(grid(10, 12) == Colour{128, 128, 128});
  const auto gray = decoded(
      {{Tensor::full({1, 1, 1, 1}, 0.2)}, {Tensor::zeros({1, 1, 1, 1}), report::Shade::signs}}, 16, 10);
  CHECK(gray(4, 4) == Colour{51, 51, 51});
  CHECK(gray(10, 4) == Colour{128, 128, 128});
  CHECK_ERROR(report::png_grid({{two}, {Tensor::zeros({2, 1, 1, 2})}}),
              "images [2,1,1,2], expected [N,[3,1,2]]");
}

TEST_CASE("report: a plot's data and script say what is drawn") {
  const testing::TempDir folder;
  const auto files = [&](const report::Plot& plot) {
    draw_plot(plot, folder / ".");
    return std::pair(read_file(folder / "p.dat"), read_file(folder / "p.gp"));
  };
  const auto contains = [](const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  };
  report::Plot curves{"p", "A \"plot\"", "x", "y", {{"few", {0, 0.5}, {1, 2}}, {"many", {}, {}}}, {}};
  for (int i = 0; i < 100; ++i) curves.series[1].add(i, 3);
  for (int i = 2; i < 7; ++i) curves.series.push_back({"more", {0, 1}, {i + 0.0, i + 0.0}});
  const auto [data, script] = files(curves);
  CHECK(data.starts_with("# few\n0 1\n0.5 2\n\n\n# many\n0 3\n1 3\n"));
  CHECK(contains(script, R"(set title "A \"plot\"")"));
  CHECK(contains(script, R"('p.dat' index 0 with linespoints title "few" lc '#0072b2')"));
  CHECK(contains(script, R"('p.dat' index 1 with lines title "many")"));
  CHECK(contains(script, "index 5 with linespoints title \"more\" lc '#56b4e9' lw 2 pt 7 ps 0.5,"));
  CHECK(contains(script, "index 6 with linespoints title \"more\" lc '#0072b2' lw 2 pt 7 ps 0.5 dt 2\n"));

  report::Plot bars{"p", "Bars", "x", "y", {{"a", {}, {1, 2}}, {"b", {}, {3, 4}}}, {"one", "two"}};
  const auto [heights, few] = files(bars);
  CHECK(heights == "# category \"a\" \"b\"\n\"one\" 1 3\n\"two\" 2 4\n");
  CHECK(contains(few, R"('p.dat' using 2:xtic(1) title "a")"));
  CHECK(contains(few, R"('p.dat' using 3:xtic(1) title "b")"));
  CHECK_FALSE(contains(few, "rotate"));
  bars.categories.resize(9, "more");
  for (report::Series& s : bars.series) s.y.resize(9);
  CHECK(contains(files(bars).second, "set xtics scale 0 rotate by -40\n"));

  report::Plot heat{"p", "Heat", "x", "y", {}, {}};
  heat.heat = {{{0, 1, 2}, {3, 4, -5}}, 5};
  const auto [cells, colours] = files(heat);
  CHECK(cells == "0 1 2 \n3 4 -5 \n");
  CHECK(
      contains(colours, "set palette defined (-1 '#0072b2', 0 '#ffffff', 1 '#d55e00')\nset cbrange [-5:5]"));
  CHECK(contains(colours, "plot 'p.dat' matrix using ($1/2):($2/1):3 with image pixels"));
}

TEST_CASE("report: what a gnuplot that fails leaves is no drawing") {
  const testing::TempDir folder;
  write_file(folder / "gnuplot", "#!/bin/sh\necho '<svg></svg>' > p.svg\nexit $STATUS\n");
  std::filesystem::permissions(folder / "gnuplot", std::filesystem::perms::owner_all);
  const std::string path = std::getenv("PATH");
  const report::Plot plot{"p", "A plot", "x", "y", {{"s", {0, 1}, {0, 1}}}, {}};
  setenv("PATH", (folder.str() + ":" + path).c_str(), 1);
  for (const char* status : {"0", "1"}) {
    setenv("STATUS", status, 1);
    CHECK(draw_plot(plot, folder.str()) == (*status == '0' ? "<svg></svg>\n" : ""));
  }
  unsetenv("STATUS");
  setenv("PATH", path.c_str(), 1);
}

TEST_CASE("report: a folder is made and tried before the work") {
  const testing::TempDir folder;
  report::prepare_folder(folder / "a/b");
  CHECK(std::filesystem::is_empty(folder / "a/b"));
  write_file(folder / "file", "");
  CHECK_ERROR(report::prepare_folder(""), "--output: the name of the folder is empty");
  CHECK_ERROR(report::prepare_folder(folder / "file"), "file: cannot be made a folder");
  CHECK_ERROR(report::prepare_folder("/proc/self"), "/proc/self/report.html: cannot be written");
}

TEST_CASE("report: a curve is drawn on white, and inside a page on the page's ground") {
  if (!report::gnuplot_installed()) return;
  const testing::TempDir folder;
  report::Plot plot{"p", "A plot", "x", "y", {{"s", {0, 1}, {0, 1}}}, {}};
  const std::string svg = draw_plot(plot, folder / ".");
  CHECK(svg.starts_with("<svg"));
  CHECK(read_file(folder / "p.svg").find("fill=\"#ffffff\"/>") != std::string::npos);
  CHECK(svg.find("fill=\"#ffffff\"/>") == std::string::npos);
  CHECK(svg.find("currentColor") != std::string::npos);
  for (const char* black : {"\"black\"", "'black'", "\"#000000\""})
    CHECK(svg.find(black) == std::string::npos);
  plot.series.clear();
  CHECK(draw_plot(plot, folder / ".").empty());  // a script that gnuplot refuses
}

namespace {

/// What f writes to standard error while that is the file `to`.
void with_errors_to(int to, const std::function<void()>& f) {
  std::fflush(stderr);
  const int before = dup(STDERR_FILENO);
  REQUIRE(dup2(to, STDERR_FILENO) == STDERR_FILENO);
  f();
  std::fflush(stderr);
  dup2(before, STDERR_FILENO);
  close(before);
}

}  // namespace

TEST_CASE("progress: times are read at a glance") {
  for (const auto& [seconds, text] : {std::pair{-1.0, "0 s"},
                                      {59.4, "59 s"},
                                      {59.6, "1 min 00 s"},
                                      {185.0, "3 min 05 s"},
                                      {3599.0, "59 min 59 s"},
                                      {7800.0, "2 h 10 min"}})
    CHECK(format_seconds(seconds) == text);
}

TEST_CASE("progress: a training counts images, its last line comes in any case, and quiet ones are quiet") {
  const testing::TempDir folder;
  const auto lines = [&](bool quiet) {
    const int file = open((folder / "errors").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    with_errors_to(file, [&] {
      Progress progress("work", 300, quiet);
      const auto report = training_progress(progress, 300);
      for (int64_t step = 1; step <= 6; ++step)
        report({.epoch = 3, .epochs = 3, .step = step, .steps = 6, .loss = 0.5, .accuracy = 0.25});
    });
    close(file);
    return read_file(folder / "errors");
  };
  CHECK(lines(true).empty());
  const std::string text = lines(false), last = text.substr(text.rfind("work"));
  CHECK(last.starts_with("work 100 %  300/300 images, "));
  CHECK(last.ends_with("/s  epoch 3/3  loss 0.5000  accuracy 25.00 %\n"));
}

TEST_CASE("progress: on a terminal a bar is drawn, and closed at the end") {
  const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
  REQUIRE((terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0));
  const int end = open(ptsname(terminal), O_RDWR | O_NOCTTY);
  with_errors_to(end, [] { Progress("work", 8, false).update(2, "note"); });
  close(end);
  std::string text;
  for (char c = 0; read(terminal, &c, 1) == 1;) text += c;  // until nothing is left and nobody writes
  CHECK(text == "\rwork [======                  ]  25 %  2/8 images  note\x1b[K\r\n");
  close(terminal);
}
