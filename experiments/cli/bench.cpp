// hashgrad bench NAME|all: kernels from the obvious one to the production one, checked, and timed beside
// measured floors.
#include "bench/ladder.h"
#include "core/device_memory.h"
#include "experiments/cli/options.h"
#include "experiments/report/table.h"

namespace hashgrad::cli {
namespace {

struct BenchVerb {
  std::string ladder, device = "auto", size = "full", json;
  int rounds = 100;
};

/// "auto" is the GPU, or the emulator where there is none: the CPU engine has no rungs.
Device device_of(const BenchVerb& v) {
  if (v.device != "auto") return parse_device(v.device);
  const Device gpu{Device::Kind::cuda};
  return is_available(gpu) ? gpu : parse_device("emu");
}

std::vector<std::string> chosen(const std::string& name) {
  const std::vector<std::string>& names = bench::ladder_names();
  if (name == "all") return names;
  if (std::find(names.begin(), names.end(), name) == names.end())
    usage("bench: there is no ladder '{}' (available: {}, all)", name, fmt::join(names, ", "));
  return {name};
}

nlohmann::ordered_json print_rates(const bench::Rates& rates) {
  const bench::Amounts& r = rates.per_us;
  report::Table table{
      "floors", "What this device does at best, measured now", {"what", "rate", "unit"}, {}, {}};
  const auto add = [&](const char* what, double rate, const char* unit) {
    table.add({what, fmt::format("{:.4g}", rate), unit});
  };
  add("copy in device memory", r.memory * 1e-3, "GB/s");
  add("copy in the L2 cache", r.l2 * 1e-3, "GB/s");
  add("FMA, float32", r.multiply_add * 1e-6, "TFLOP/s");
  add("integer mix of the hash", r.integer * 1e-6, "T instructions/s");
  add("shared memory, conflict-free", r.shared * 1e-6, "T reads/s");
  add("shared memory, random", r.shared_random * 1e-6, "T reads/s");
  add("launch", rates.launch_us, "us");
  add("launch in a graph", 1 / r.launch, "us");
  fmt::print("{}\n", to_text(table));
  return to_json(table)["rows"];
}

nlohmann::ordered_json print_checked(const bench::Ladder& ladder,
                                     const std::vector<bench::RungResult>& results) {
  report::Table table{
      ladder.name, "", {"rung", "idea", "error", "allowed"}, {}, "emulated: checked, not timed"};
  for (size_t i = 0; i < results.size(); ++i)
    table.add({std::to_string(i + 1), results[i].idea, fmt::format("{:.1e}", results[i].error),
               fmt::format("{:.1e}", results[i].tolerance)});
  table.title = ladder.formula;
  fmt::print("{}\n", to_text(table));
  return to_json(table)["rows"];
}

nlohmann::ordered_json print_timed(const bench::Ladder& ladder, const std::vector<bench::RungResult>& results,
                                   const bench::Rates& rates) {
  const auto [floor_us, binds] = rates.floor_of(ladder.work);
  report::Table table{
      ladder.name,
      ladder.formula,
      {"rung", "idea", "error", "us", "p10", "p90", "GB/s", "TFLOP/s", "% of floor", "binds", "gain"},
      {},
      fmt::format("floor {:.2f} us ({}); GB/s and TFLOP/s count what the formula needs; \"binds\": what "
                  "the rung's own work would wait for, by count",
                  floor_us, name_of(binds))};
  for (size_t i = 0; i < results.size(); ++i) {
    const bench::RungResult& r = results[i];
    table.add({std::to_string(i + 1), r.idea, fmt::format("{:.1e}", r.error),
               fmt::format("{:.2f}", r.median_us), fmt::format("{:.2f}", r.p10_us),
               fmt::format("{:.2f}", r.p90_us),
               fmt::format("{:.1f}", ladder.work.memory / r.median_us * 1e-3),
               fmt::format("{:.3f}", ladder.flops / r.median_us * 1e-6),
               fmt::format("{:.1f}", 100 * floor_us / r.median_us), name_of(r.binds),
               i == 0 ? "-" : fmt::format("{:.2f}", results[i - 1].median_us / r.median_us)});
  }
  fmt::print("{}\n", to_text(table));
  return to_json(table)["rows"];
}

void run(const BenchVerb& v, const CLI::App& verb) {
  const std::vector<std::string> names = chosen(v.ladder);
  const Device device = device_of(v);
  if (device.kind == Device::Kind::cpu) usage("--device: 'cpu' has no rungs (accepted: auto, cuda, emu)");
  const bool timed = device.kind == Device::Kind::cuda;
  const bench::Size size = !timed              ? bench::Size::tiny
                           : v.size == "small" ? bench::Size::small
                                               : bench::Size::full;
  nlohmann::ordered_json result{{"device_used", to_string(device)}, {"timed", timed}};
  bench::Rates rates;
  if (timed) {
    rates = bench::measure_rates(device);
    result["floors"] = print_rates(rates);
  }
  for (const std::string& name : names) {
    const bench::Ladder ladder = bench::make_ladder(device, name, size);
    std::string extents;
    nlohmann::ordered_json entry{{"formula", ladder.formula}};
    for (const auto& [what, extent] : ladder.extents) {
      extents += fmt::format(" {} {}", what, extent);
      entry["extents"][what] = extent;
    }
    fmt::print("{}:{}\n", name, extents);
    const std::vector<bench::RungResult> rungs =
        climb(device, ladder, timed ? v.rounds : 0, timed ? &rates : nullptr);
    if (timed) entry["floor_us"] = rates.floor_of(ladder.work).first;
    entry["rungs"] = timed ? print_timed(ladder, rungs, rates) : print_checked(ladder, rungs);
    result["ladders"][name] = entry;
  }
  write_json(v.json, result, verb);
}

}  // namespace

void add_bench(CLI::App& app) {
  auto* verb =
      app.add_subcommand("bench", "Check and time kernels, from the obvious one to the production one");
  auto v = std::make_shared<BenchVerb>();
  verb->add_option("NAME", v->ladder, fmt::format("ladder: {}, all", fmt::join(bench::ladder_names(), ", ")))
      ->required();
  verb->add_option("--device", v->device, "auto, cuda, or emu (which checks, but does not time)");
  verb->add_option("--size", v->size, "of the operands; the emulator has a size of its own")
      ->check(one_of({"small", "full"}));
  verb->add_option("--rounds", v->rounds, "timed replays per rung, at most")->check(integer_in(5, 100000));
  verb->add_option("--json", v->json, "the numbers, with the command and every setting")
      ->check(output_file());
  verb->callback([v, verb] { run(*v, *verb); });
}

}  // namespace hashgrad::cli
