// A report in one HTML file that opens without a network.
#pragma once

#include <string>
#include <vector>

#include "experiments/report/table.h"

namespace hashgrad::report {

/// Collects sections and writes them as one page: pictures as data URIs, drawings inline, one style sheet for
/// screens of any width, light and dark. Text given is escaped.
class HtmlPage {
 public:
  explicit HtmlPage(std::string title) : title_(std::move(title)) {}

  void heading(const std::string& text);
  void paragraph(const std::string& text);
  /// What the page says in one sentence, marked as `passed`, `masked` or `inconclusive`.
  void verdict(const std::string& verdict, const std::string& text);
  void list(const std::vector<std::string>& items);
  /// Text set as it is: a command, a list of settings.
  void preformatted(const std::string& text);
  /// Cells that are one of the three verdicts are coloured.
  void table(const Table& table);
  /// An SVG element as draw_plot() returns it; nothing when empty.
  void drawing(const std::string& svg, const std::string& caption);
  /// PNG bytes.
  void picture(const std::string& png, const std::string& caption);

  std::string html() const;

 private:
  std::string title_, body_;
};

/// Creates `folder` and checks that files can be written to it; call it before the long work. (Should one of
/// the report's names be a folder, say, that shows at the end: cells and attacks are in files of their own.)
void prepare_folder(const std::string& folder);

std::string escape_html(const std::string& text);
std::string base64(const std::string& bytes);
/// The bytes of what base64() wrote; other text is an Error.
std::string from_base64(const std::string& text);

}  // namespace hashgrad::report
