// hashgrad info MODEL and hashgrad models: what a model consists of, and which networks have names.
#include <algorithm>
#include <cmath>

#include "compression/size_report.h"
#include "cuda/hash_gemm.h"
#include "experiments/cli/options.h"
#include "experiments/report/table.h"
#include "nn/model_file.h"
#include "nn/models/zoo.h"

namespace hashgrad::cli {
namespace {

struct InfoVerb {
  CommonFlags common;
  std::string model;
};

/// Floating-point operations of one image: two per multiply-add, one per element elsewhere.
int64_t flops(const LayerSpec& layer, const Shape& in, const Shape& out) {
  if (layer.kind == LayerSpec::Kind::conv)
    return 2 * out.numel() * in[0] * layer.kernel.height * layer.kernel.width;
  if (layer.kind == LayerSpec::Kind::fc) return 2 * out.numel() * in.numel();
  const bool moves_only = layer.branches() && layer.kind != LayerSpec::Kind::add;
  return moves_only ? 0 : out.numel();
}

/// What layer i stores, all its parameters and buffers together.
LayerSize size_of_layer(const SizeReport& report, size_t i) {
  LayerSize sum;
  for (const LayerSize& size : report.layers) {
    if (size.layer != i) continue;
    sum.virtual_parameters += size.virtual_parameters;
    sum.real_parameters += size.real_parameters;
    sum.bytes += size.bytes;
  }
  return sum;
}

/// The share of a layer's stored weights that are not zero; 1 without weights.
double density(const Model& model, size_t i) {
  if (!model.spec().layers[i].has_weight()) return 1;
  const std::vector<double> w =
      model.state().at(model.parameter_name(i, "weight")).to(DType::float64).to_vector<double>();
  return 1 - static_cast<double>(std::count(w.begin(), w.end(), 0.0)) / static_cast<double>(w.size());
}

/// The GPU that products are planned for: that of `device`, else the one that hash_plan.h knows.
HashMachine machine_of([[maybe_unused]] Device device) {
  HASHGRAD_IF_CUDA(if (device.kind == Device::Kind::cuda) return cuda::hash_machine();)
  HASHGRAD_IF_EMULATOR(if (device.kind == Device::Kind::emu) return emu::hash_machine();)
  return {};
}

/// What the GPU engine would do with one hashed layer.
struct LayerPlan {
  std::string text;
  nlohmann::ordered_json json;
};

LayerPlan plan_layer(size_t number, const LayerSpec& layer, const cpu::HashedMatrix& v, int64_t batch,
                     const HashMachine& machine) {
  nlohmann::ordered_json json{
      {"layer", number},
      {"K", v.buckets()},
      {"rate", static_cast<double>(v.buckets()) / static_cast<double>(v.rows() * v.columns())}};
  if (layer.kind == LayerSpec::Kind::conv) {
    json["kernel"] = "materialise";
    return {fmt::format("K {}, materialise: V is written out once for all pixels, then a dense convolution",
                        v.buckets()),
            json};
  }
  const HashPlan plan = plan_hashed_linear(v.rows(), v.columns(), v.buckets(), v.spec().mode, batch, machine);
  json["kernel"] = name_of(plan.kernel);
  json["predicted_us"] = {{"tile", plan.tile}};
  std::string candidates = fmt::format("tile {:.2f} us", plan.tile), table = "";
  if (std::isfinite(plan.small_batch)) {
    json["predicted_us"]["small_batch"] = plan.small_batch;
    candidates += fmt::format(", small_batch {:.2f} us", plan.small_batch);
  }
  if (plan.kernel == HashKernel::small_batch) {
    json["table"] = name_of(plan.table);
    table = fmt::format(", buckets {}", name_of(plan.table));
  }
  return {fmt::format("K {}, {}{}; predicted: {}", v.buckets(), name_of(plan.kernel), table, candidates),
          json};
}

/// Prints the plans of all hashed layers for `batch` images, and returns them.
nlohmann::ordered_json plan_layers(const Model& model, int64_t batch, Device device) {
  nlohmann::ordered_json plans = nlohmann::ordered_json::array();
  const HashMachine machine = machine_of(device);
  for (size_t i = 0; i < model.spec().layers.size(); ++i) {
    const LayerSpec& layer = model.spec().layers[i];
    if (!layer.hashed()) continue;
    if (plans.empty())
      fmt::print("hashed layers on {} at batch {}, forward in float32 (a prediction, nothing was run):\n",
                 device == Device{} ? "an H200" : to_string(device), batch);
    const LayerPlan plan = plan_layer(i, layer, *model.hashed_matrices(i).weights, batch, machine);
    fmt::print("  {} {}: {}\n", i, to_string(layer), plan.text);
    plans.push_back(plan.json);
  }
  return plans;
}

void run(const InfoVerb& v, const CLI::App& verb) {
  const Device device = v.common.where();
  const Model model = load_model(v.model);
  const Spec& spec = model.spec();
  report::Table table{"layers",
                      short_text(spec),
                      {"layer", "token", "output", "virtual", "stored", "bytes", "flops"},
                      {},
                      {}};
  const SizeReport size = size_report(model);
  int64_t operations = 0;
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    const LayerSpec& layer = spec.layers[i];
    const Shape &in = model.shapes()[i], &out = model.shapes()[i + 1];
    const LayerSize stored = size_of_layer(size, i);
    const auto work = std::llround(density(model, i) * static_cast<double>(flops(layer, in, out)));
    operations += work;
    table.add({std::to_string(i), to_string(layer), to_string(out), std::to_string(stored.virtual_parameters),
               std::to_string(stored.real_parameters), std::to_string(stored.bytes), std::to_string(work)});
  }
  table.note =
      fmt::format("{} parameters, {} stored, {} bytes, {:.1f} MFLOP per image (weights of zero left out), {}",
                  size.virtual_parameters, size.real_parameters, size.bytes,
                  static_cast<double>(operations) * 1e-6, name_of(model.dtype()));
  fmt::print("{}", to_text(table));
  const nlohmann::ordered_json plans = plan_layers(model, v.common.batch, device);
  for (const auto& [key, value] : model.metadata) fmt::print("  {}: {}\n", key, value);
  write_json(v.common.json,
             {{"spec", to_string(spec)},
              {"virtual_parameters", size.virtual_parameters},
              {"real_parameters", size.real_parameters},
              {"bytes", size.bytes},
              {"flops", operations},
              {"metadata", model.metadata},
              {"layers", to_json(table)["rows"]},
              {"plans", plans}},
             verb);
}

void list_models(const CommonFlags& common, const CLI::App& verb) {
  report::Table table{
      "models", "Networks by name", {"name", "parameters", "spec", "source", "settings"}, {}, {}};
  for (const ZooEntry& entry : zoo()) {
    table.add({entry.name, std::to_string(entry.parameters), entry.spec, entry.source, entry.settings});
    const std::string settings =
        entry.settings.empty() ? "" : fmt::format("\n{:18} settings: {}({})", "", entry.name, entry.settings);
    fmt::print("{:<18} {:>10} parameters  {}\n{:18} {}{}\n", entry.name, entry.parameters, entry.source, "",
               short_text(parse_spec(entry.spec)), settings);
  }
  write_json(common.json, {{"models", to_json(table)["rows"]}}, verb);
}

}  // namespace

void add_info(CLI::App& app) {
  auto* verb = app.add_subcommand("info", "Layers, shapes, parameters, bytes and operations of a model");
  auto v = std::make_shared<InfoVerb>();
  verb->add_option("MODEL", v->model, "model file")->required();
  add_common(*verb, v->common);
  verb->callback([v, verb] { run(*v, *verb); });
}

void add_models(CLI::App& app) {
  auto* verb = app.add_subcommand("models", "List the networks that have names");
  auto common = std::make_shared<CommonFlags>();
  add_common(*verb, *common);
  verb->callback([common, verb] { list_models(*common, *verb); });
}

}  // namespace hashgrad::cli
