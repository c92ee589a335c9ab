// What reports are made of.
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "experiments/report/html.h"
#include "experiments/report/table.h"
#include "tests/error_of.h"

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
