// How results are laid out: the same table as text, Markdown and HTML.
#include <doctest/doctest.h>

#include "experiments/report/html.h"
#include "experiments/report/table.h"

namespace hashgrad::report {
namespace {

Table checks() {
  Table table{"checks", "Checks", {"", "question", "verdict", "broken", "because"}, {}, "A note."};
  table.add({"D1", "Is it?", "passed", "1.50", ""});
  table.add({"D2", "Are they?", "masked", "not run", "3 of 50"});
  table.add({"D3", "All < some?", "inconclusive", "~68", "none of the images counts"});
  table.add({"D4", "More?", "passed", "-", "too few"});
  return table;
}

}  // namespace

TEST_CASE("a column of words is set to the left, one of numbers to the right, by what most cells are") {
  const Table table = checks();
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

TEST_CASE("a page colours verdicts and escapes text") {
  HtmlPage page("A & B");
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

}  // namespace hashgrad::report
