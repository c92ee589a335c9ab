// The search for a hash classifier's rates, with a trainer that only writes down what it was asked.
#include <cmath>
#include <doctest/doctest.h>
#include <set>

#include "compression/rate_search.h"
#include "tests/error_of.h"

using namespace hashgrad;

TEST_CASE("rate search: the grid of the paper's MNIST network has 8 x 11 pairs") {
  const std::vector<RatePair> grid = rate_grid(256 * 256, 256 * 10);
  CHECK(grid.size() == 88);
  CHECK(grid.front().first == 1.0 / 256);
  CHECK(grid.front().second == 0.5);
  CHECK(grid[10].second == 1.0 / 2048);
  CHECK(grid[11].first == 1.0 / 512);
  CHECK(grid[11].second == 0.5);  // taken back to 1/2 for every first rate
  CHECK(grid.back().first == 1.0 / 32768);
  CHECK(grid.back().second == 1.0 / 2048);
  std::set<std::pair<double, double>> different;
  for (const RatePair& pair : grid) different.insert({pair.first, pair.second});
  CHECK(different.size() == 88);
}

TEST_CASE("rate search: the paper's rule gives the paper's rates") {
  const RatePair mnist = rate_rule(256 * 256, 256), cifar = rate_rule(4096 * 4096, 4096);
  CHECK(mnist.first == 1.0 / 4096);
  CHECK(mnist.second == 1.0 / 128);
  CHECK(cifar.first == 1.0 / 65536);
  CHECK(cifar.second == 1.0 / 2048);
}

TEST_CASE("rate search: R is of g and phi between their extremes, and 1 where accuracy is lost") {
  const std::vector<RatePair> grid{{0.5, 0.5}, {0.5, 0.25}, {0.25, 0.5}, {0.25, 0.25}};
  // Accuracy, g, phi. The last one has the smallest g and phi of all, but loses exactly the threshold.
  const std::vector<RateScore> scores{{0.99, 4, 30}, {1, 2, 20}, {0.995, 3, 10}, {0.875, 0, 10}};
  size_t asked = 0;
  const auto train = [&](const RatePair& pair) {
    CHECK(pair.first == grid[asked].first);
    CHECK(pair.second == grid[asked].second);
    return scores[asked++];
  };
  const RateSearch search = search_rates(grid, {.accuracy = 1, .alpha = 0.25, .most_loss = 0.125}, train);
  CHECK(asked == 4);
  CHECK(search.trials[0].r == doctest::Approx(1));
  CHECK(search.trials[1].r == doctest::Approx(0.25 * 0.5 + 0.75 * 0.5));
  CHECK(search.trials[2].r == doctest::Approx(0.25 * 0.75));
  CHECK(search.trials[3].r == 1);
  REQUIRE(search.best);
  CHECK(*search.best == 2);
}

TEST_CASE("rate search: equal scores, no accurate pair, and what it refuses") {
  const std::vector<RatePair> grid{{0.5, 0.5}, {0.5, 0.25}};
  const auto same = [](const RatePair&) { return RateScore{0.9, 1, 1}; };
  const RateSearch equal = search_rates(grid, {.accuracy = 0.9}, same);
  CHECK(equal.trials[0].r == 0);
  CHECK(equal.best == std::optional<size_t>(0));
  CHECK(!search_rates(grid, {.accuracy = 0.95}, same).best);
  for (const double accuracy : {0.57, 0.9, 0.99}) {  // a loss of just a point, whichever way it is rounded
    const auto loses = [&](const RatePair&) { return RateScore{accuracy - 0.01, 1, 1}; };
    const auto keeps = [&](const RatePair&) { return RateScore{accuracy - 0.0099, 1, 1}; };
    CHECK(!search_rates(grid, {.accuracy = accuracy, .most_loss = 0.01}, loses).best);
    CHECK(search_rates(grid, {.accuracy = accuracy, .most_loss = 0.01}, keeps).best);
  }
  CHECK(!search_rates(grid, {.accuracy = 0.57, .most_loss = 0.01}, [](const RatePair&) {
           return RateScore{0.56, 1, 1};  // 0.57 - 0.56 < 0.01
         }).best);
  CHECK_ERROR(search_rates(grid, {.alpha = 2}, same), "alpha 2, a number in [0,1] expected");
  CHECK_ERROR(search_rates(grid, {},
                           [](const RatePair&) {
                             return RateScore{NAN, 0, 0};
                           }),
              "at rates 0.5 and 0.5 has no score");
  CHECK_ERROR(rate_grid(0, 10), "0 and 10 weights");
}
