// What reports are made of.
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "experiments/report/html.h"
#include "experiments/report/plot.h"
#include "experiments/report/table.h"
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
}
