// Attacks that are repeated on request: the Hashgrad side of bench/compare_attacks.py, a process that stays
// up as the libraries' do.
//
//   bench_attacks MODEL IMAGES BATCH THREADS
//
// IMAGES is a tensor file with x and y. Answers each line of standard input, an attack as in
// `pgd:eps=0.1,iters=40` and, after a space, a rule for its targets if it has any (`next`), with the seconds
// until the images are there and verified, warm. Attacked in pieces of BATCH images, as `hashgrad attack`
// does.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>

#include "attacks/attack.h"
#include "attacks/registry.h"
#include "attacks/target.h"
#include "core/error.h"
#include "core/parallel.h"
#include "datasets/tensor_file.h"
#include "nn/fixed_weights.h"
#include "nn/model_file.h"

namespace hashgrad {
namespace {

AttackInput input_of(const Model& model, const Dataset& data, const std::string& rule) {
  AttackInput input{data.images_float(0, data.size(), model.dtype()), data.labels, {}, {}};
  for (int64_t n = 0; n < data.size(); ++n) input.samples.push_back(n);
  if (!rule.empty())
    input.targets = choose_targets(parse_target_rule(rule), Oracle::judge(model).logits(input.x), input.y);
  return input;
}

double seconds_of(const Attack& attack, const Model& model, const AttackInput& input, int64_t batch) {
  const auto start = std::chrono::steady_clock::now();
  const FixedWeights fixed({&model});
  for (int64_t begin = 0; begin < input.x.size(0); begin += batch) {
    std::vector<int64_t> rows;
    for (int64_t n = begin; n < std::min(begin + batch, input.x.size(0)); ++n) rows.push_back(n);
    attack.run(model, gather(input, rows), {.batch = batch});
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Seconds of a call. A short one is repeated for a while behind a first that does not count: threads and
/// caches are asleep when it comes, as nobody's are who attacks more images.
double warm_seconds(const Attack& attack, const Model& model, const AttackInput& input, int64_t batch) {
  constexpr double brief = 0.2;
  const double first = seconds_of(attack, model, input, batch);
  if (first >= brief) return first;
  const int calls = static_cast<int>(brief / first) + 1;
  double sum = 0;
  for (int i = 0; i < calls; ++i) sum += seconds_of(attack, model, input, batch);
  return sum / calls;
}

int run(int argc, char** argv) {
  check(argc == 5, "usage: bench_attacks MODEL IMAGES BATCH THREADS");
  set_threads(std::stoi(argv[4]));
  const Model model = load_model(argv[1]);
  const Dataset data = read_tensor_file(argv[2]);
  check(data.labelled(), "{}: holds no labels y", argv[2]);
  for (std::string line, spec, rule; std::getline(std::cin, line); rule.clear()) {
    std::istringstream(line) >> spec >> rule;
    const AttackInput input = input_of(model, data, rule);
    std::printf("%.6g\n", warm_seconds(*make_attack(spec, 1), model, input, std::stoll(argv[3])));
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace hashgrad

int main(int argc, char** argv) try { return hashgrad::run(argc, argv); } catch (const std::exception& e) {
  std::cerr << "bench_attacks: " << e.what() << '\n';
  return 1;
}
