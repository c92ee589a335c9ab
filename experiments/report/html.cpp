#include "experiments/report/html.h"

#include <filesystem>
#include <fmt/format.h>

#include "attacks/checks/check.h"
#include "core/error.h"
#include "core/file.h"

namespace hashgrad::report {
namespace {

constexpr std::string_view base64_digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr const char* style = R"(
:root{--paper:#fdfdfb;--ink:#1c1d1f;--soft:#6a6d72;--line:#d9d9d4;--shade:#f4f4ef;--green:#2e7d4f;--red:#b3261e;
 --amber:#8a6100}
@media(prefers-color-scheme:dark){:root{--paper:#16181b;--ink:#e6e6e1;--soft:#9a9da3;--line:#33363b;--shade:#1e2125;
 --green:#6fc28f;--red:#f2857c;--amber:#d9b04c}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2.5rem 1.1rem 4rem;max-width:54rem;background:var(--paper);color:var(--ink);
 font:1rem/1.55 Charter,"Bitstream Charter","Iowan Old Style",Georgia,serif}
h1{font-size:1.9rem;line-height:1.2;font-weight:600;margin:0 0 .4rem}
h2{font-size:1.25rem;font-weight:600;margin:2.8rem 0 .5rem;padding-top:.9rem;border-top:1px solid var(--line)}
p{margin:.6rem 0;max-width:44rem}
ul{margin:.6rem 0;padding-left:1.1rem;max-width:44rem}
li{margin:.3rem 0}
.passed{--tone:var(--green)}.masked{--tone:var(--red)}.inconclusive{--tone:var(--amber)}
.verdict{padding:.6rem .9rem;border-left:4px solid var(--tone);background:var(--shade)}
.verdict strong,td.passed,td.masked,td.inconclusive{color:var(--tone);font-weight:600}
/* A wide table leaves the column of text, to both sides, before it scrolls. */
.scroll{overflow-x:auto;margin:1rem 0 .3rem;width:max-content;min-width:100%;max-width:min(94vw,84rem);position:relative;
 left:50%;transform:translateX(-50%)}
table{border-collapse:collapse;font:.84rem/1.4 ui-sans-serif,system-ui,sans-serif;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:.2rem 0 .5rem}
th,td{padding:.28rem .7rem .28rem 0;text-align:right;white-space:nowrap}
th.text,td.text{text-align:left;white-space:normal;max-width:30rem}
td.text:first-child{white-space:nowrap}
tbody tr{vertical-align:top}
th{color:var(--soft);font-weight:500;border-bottom:1px solid var(--line)}
tbody tr+tr td{border-top:1px solid var(--shade)}
.note,figcaption{color:var(--soft);font-size:.86rem;line-height:1.45;max-width:44rem}
figure{margin:1.4rem 0}
figure svg,figure img{display:block;max-width:100%;height:auto;margin-bottom:.5rem}
img{image-rendering:pixelated}
pre{background:var(--shade);padding:.7rem .9rem;white-space:pre-wrap;overflow-wrap:anywhere;font:.8rem/1.45 ui-monospace,monospace;border-radius:4px}
)";

bool is_verdict(const std::string& text) {
  const auto is = [&](Verdict verdict) { return text == name_of(verdict); };
  return is(Verdict::passed) || is(Verdict::masked) || is(Verdict::inconclusive);
}

}  // namespace

std::string escape_html(const std::string& text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string base64(const std::string& bytes) {
  std::string out;
  const auto byte = [&](size_t i) {
    return i < bytes.size() ? uint32_t{static_cast<uint8_t>(bytes[i])} : 0u;
  };
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const uint32_t group = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    out += base64_digits[group >> 18];
    out += base64_digits[group >> 12 & 63];
    out += i + 1 < bytes.size() ? base64_digits[group >> 6 & 63] : '=';
    out += i + 2 < bytes.size() ? base64_digits[group & 63] : '=';
  }
  return out;
}

std::string from_base64(const std::string& text) {
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0, end = text.size() - padding;
  check(text.size() % 4 == 0, "base64: {} digits, a multiple of 4 is expected", text.size());
  std::string out;
  uint32_t group = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const size_t value = i < end ? base64_digits.find(text[i]) : 0;
    check(value != base64_digits.npos, "base64: character {} is not a digit", i);
    group = group << 6 | static_cast<uint32_t>(value);
    if (i % 4 != 3) continue;
    for (const int shift : {16, 8, 0}) out += static_cast<char>(group >> shift & 255);
    group = 0;
  }
  for (size_t i = 0; i < padding; ++i) out.pop_back();
  return out;
}

void HtmlPage::heading(const std::string& text) { body_ += "<h2>" + escape_html(text) + "</h2>\n"; }

void HtmlPage::paragraph(const std::string& text) { body_ += "<p>" + escape_html(text) + "</p>\n"; }

void HtmlPage::verdict(const std::string& verdict, const std::string& text) {
  body_ += fmt::format("<p class=\"verdict {0}\"><strong>{0}</strong> {1}</p>\n", escape_html(verdict),
                       escape_html(text));
}

void HtmlPage::list(const std::vector<std::string>& items) {
  if (items.empty()) return;
  body_ += "<ul>\n";
  for (const std::string& item : items) body_ += "<li>" + escape_html(item) + "</li>\n";
  body_ += "</ul>\n";
}

void HtmlPage::preformatted(const std::string& text) { body_ += "<pre>" + escape_html(text) + "</pre>\n"; }

void HtmlPage::table(const Table& table) {
  body_ += "<div class=\"scroll\"><table><caption>" + escape_html(table.title) + "</caption><thead><tr>";
  const auto cell = [&](const char* tag, size_t column, const std::string& text) {
    std::string classes = table.is_text(column) ? "text" : "";
    if (is_verdict(text)) classes += " " + text;
    body_ += classes.empty() ? fmt::format("<{0}>{1}</{0}>", tag, escape_html(text))
                             : fmt::format("<{0} class=\"{2}\">{1}</{0}>", tag, escape_html(text), classes);
  };
  for (size_t c = 0; c < table.columns.size(); ++c) cell("th", c, table.columns[c]);
  body_ += "</tr></thead><tbody>\n";
  for (const auto& row : table.rows) {
    body_ += "<tr>";
    for (size_t c = 0; c < row.size(); ++c) cell("td", c, row[c]);
    body_ += "</tr>\n";
  }
  body_ += "</tbody></table></div>\n";
  if (!table.note.empty()) body_ += "<p class=\"note\">" + escape_html(table.note) + "</p>\n";
}

void HtmlPage::drawing(const std::string& svg, const std::string& caption) {
  if (svg.empty()) return;
  body_ += "<figure>" + svg + "<figcaption>" + escape_html(caption) + "</figcaption></figure>\n";
}

void HtmlPage::picture(const std::string& png, const std::string& caption) {
  body_ += fmt::format(
      "<figure><img alt=\"{0}\" src=\"data:image/png;base64,{1}\"><figcaption>{0}</figcaption></figure>\n",
      escape_html(caption), base64(png));
}

std::string HtmlPage::html() const {
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
      "<title>{0}</title>\n<style>{1}</style></head>\n<body>\n<h1>{0}</h1>\n{2}</body></html>\n",
      escape_html(title_), style, body_);
}

void prepare_folder(const std::string& folder) {
  check(!folder.empty(), "--output: the name of the folder is empty");
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  check(!error && std::filesystem::is_directory(folder), "{}: cannot be made a folder: {}", folder,
        error ? error.message() : "a file of this name exists");
  AtomicFile probe(folder + "/report.html");
}

}  // namespace hashgrad::report
