// hashgrad bench NAME|all: kernels from the obvious one to the production one, checked, and timed beside
// measured floors. hashgrad bench cpu: the kernels of the CPU engine beside theirs.
#include <fmt/ranges.h>

#include "bench/cpu_roofline.h"
#include "bench/ladder.h"
#include "core/device_memory.h"
#include "core/parallel.h"
#include "cpu/kernels.h"
#include "experiments/cli/options.h"
#include "experiments/report/table.h"

namespace hashgrad::cli {
namespace {

struct BenchVerb {
  std::string ladder, device = "auto", size = "full", json;
  int rounds = 100;
  // bench cpu
  std::string math = "fp32";
  std::vector<std::string> networks = bench::cpu_networks();
  int threads = 0;
  int64_t batch = 128;
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
    usage("bench: there is no ladder '{}' (available: {}, all, cpu)", name, fmt::join(names, ", "));
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

nlohmann::ordered_json print_ceilings(const bench::CpuCeilings& ceilings) {
  report::Table table{
      "ceilings",
      fmt::format("What this machine does at best, measured now: {}, {} threads, products in {}",
                  cpu::isa_name(cpu::isa()), threads(), name_of(math_mode())),
      {"what", "rate", "unit"},
      {},
      {}};
  const auto add = [&](const std::string& what, double rate, const char* unit) {
    table.add({what, fmt::format("{:.4g}", rate * 1e-9), unit});
  };
  add("products in registers", ceilings.flops, "GFLOP/s");
  for (const auto& copy : ceilings.copies)
    add(fmt::format("copy, {:.1f} MiB read and written", copy.bytes / (1 << 20)), copy.per_second, "GB/s");
  for (const auto& t : ceilings.tables) {
    add(fmt::format("reads of a table of {} buckets", t.buckets), t.gathers, "G/s");
    add(fmt::format("additions to a table of {} buckets", t.buckets), t.scatters, "G/s");
  }
  fmt::print("{}\n", to_text(table));
  return to_json(table)["rows"];
}

nlohmann::ordered_json print_kernels(const std::string& network, int64_t batch, bench::CpuSize size,
                                     const bench::CpuCeilings& ceilings) {
  report::Table table{network,
                      fmt::format("{}, batch {}", network, batch),
                      {"layer", "kernel", "ms", "GFLOP/s", "GB/s", "floor ms", "% of floor", "bound by"},
                      {},
                      {}};
  for (const bench::CpuKernel& kernel : bench::cpu_kernels(network, batch)) {
    const double seconds = seconds_of(kernel, size);
    const auto [floor, bound] = ceilings.floor_of(kernel.work);
    table.add({kernel.layer, kernel.kernel, fmt::format("{:.4f}", seconds * 1e3),
               kernel.work.flops > 0 ? fmt::format("{:.1f}", kernel.work.flops / seconds * 1e-9) : "-",
               fmt::format("{:.1f}", kernel.work.bytes / seconds * 1e-9), fmt::format("{:.4f}", floor * 1e3),
               fmt::format("{:.0f}", 100 * floor / seconds), bound});
  }
  fmt::print("{}\n", to_text(table));
  return to_json(table)["rows"];
}

void run_cpu(const BenchVerb& v, const CLI::App& verb) {
  if (v.size == "small") usage("--size: 'small' is for ladders (accepted for cpu: smoke, full)");
  if (v.threads > 0) set_threads(v.threads);
  const MathScope scope(parse_math(v.math));
  const bench::CpuSize size = v.size == "smoke" ? bench::CpuSize::smoke : bench::CpuSize::full;
  const int64_t batch = size == bench::CpuSize::smoke ? 1 : v.batch;
  const bench::CpuCeilings ceilings = bench::measure_cpu_ceilings(size);
  nlohmann::ordered_json result{{"instructions", cpu::isa_name(cpu::isa())}, {"threads_used", threads()}};
  result["ceilings"] = print_ceilings(ceilings);
  for (const std::string& network : v.networks)
    result["kernels"][network] = print_kernels(network, batch, size, ceilings);
  write_json(v.json, result, verb);
}

void run_ladders(const BenchVerb& v, const CLI::App& verb) {
  if (v.size == "smoke") usage("--size: 'smoke' is for cpu (accepted for ladders: small, full)");
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
  const std::string ladders = fmt::format("{}, all", fmt::join(bench::ladder_names(), ", "));
  verb->add_option("NAME", v->ladder,
                   fmt::format("ladder: {}; or cpu: the kernels of the CPU engine", ladders))
      ->required();
  verb->add_option("--size", v->size,
                   "of a ladder's operands (the emulator has a size of its own); smoke: cpu, once")
      ->check(one_of({"smoke", "small", "full"}));
  verb->add_option("--json", v->json, "the numbers, with the command and every setting")
      ->check(output_file());
  const std::string for_ladders = "For " + ladders;
  verb->add_option("--device", v->device, "auto, cuda, or emu (which checks, but does not time)")
      ->group(for_ladders);
  verb->add_option("--rounds", v->rounds, "timed replays per rung, at most")
      ->check(integer_in(5, 100000))
      ->group(for_ladders);
  constexpr const char* for_cpu = "For cpu";
  verb->add_option("--threads", v->threads, "threads to use (0: one per core)")
      ->check(integer_in(0, 1024))
      ->group(for_cpu);
  verb->add_option("--batch", v->batch, "images; 1 at size smoke")
      ->check(integer_in(1, 65536))
      ->group(for_cpu);
  verb->add_option("--math", v->math, "how products are computed")
      ->check(one_of(math_names()))
      ->group(for_cpu);
  verb->add_option("--network", v->networks, "whose layers, a comma list")
      ->delimiter(',')
      ->check(one_of(bench::cpu_networks()))
      ->group(for_cpu);
  verb->callback([v, verb] {
    refuse_foreign_flags(*verb, v->ladder);
    v->ladder == "cpu" ? run_cpu(*v, *verb) : run_ladders(*v, *verb);
  });
}

}  // namespace hashgrad::cli
