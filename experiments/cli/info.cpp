// hashgrad info MODEL and hashgrad models: what a model consists of, and which networks have names.
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
  if (layer.kind == LayerSpec::Kind::conv) return 2 * out.numel() * in[0] * layer.kernel * layer.kernel;
  if (layer.kind == LayerSpec::Kind::fc) return 2 * out.numel() * in.numel();
  return out.numel();
}

void run(const InfoVerb& v, const CLI::App& verb) {
  const Model model = load_model(v.model);
  const Spec& spec = model.spec();
  report::Table table{
      "layers", to_string(spec), {"layer", "token", "output", "virtual", "stored", "bytes", "flops"}, {}, {}};
  int64_t dense = 0, operations = 0;
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    const LayerSpec& layer = spec.layers[i];
    const Shape &in = model.shapes()[i], &out = model.shapes()[i + 1];
    LayerSpec plain = layer;
    plain.rate = 0;
    const int64_t stored = parameter_count(layer, in, model.hash().bias), whole = parameter_count(plain, in);
    const int64_t bytes = stored * static_cast<int64_t>(size_of(model.dtype())), work = flops(layer, in, out);
    dense += whole;
    operations += work;
    table.add({std::to_string(i), to_string(layer), to_string(out), std::to_string(whole),
               std::to_string(stored), std::to_string(bytes), std::to_string(work)});
  }
  const int64_t stored = model.parameter_count();
  const int64_t bytes = stored * static_cast<int64_t>(size_of(model.dtype()));
  table.note = fmt::format("{} parameters, {} stored, {} bytes, {:.1f} MFLOP per image, {}", dense, stored,
                           bytes, static_cast<double>(operations) * 1e-6, name_of(model.dtype()));
  fmt::print("{}", to_text(table));
  for (const auto& [key, value] : model.metadata) fmt::print("  {}: {}\n", key, value);
  write_json(v.common.json,
             {{"spec", to_string(spec)},
              {"virtual_parameters", dense},
              {"real_parameters", stored},
              {"bytes", bytes},
              {"flops", operations},
              {"metadata", model.metadata},
              {"layers", to_json(table)["rows"]}},
             verb);
}

void list_models(const CommonFlags& common, const CLI::App& verb) {
  report::Table table{"models", "Networks by name", {"name", "parameters", "spec", "source"}, {}, {}};
  for (const ZooEntry& entry : zoo())
    table.add({entry.name, std::to_string(entry.parameters), entry.spec, entry.source});
  for (const ZooEntry& entry : zoo())
    fmt::print("{:<18} {:>10} parameters  {}\n{:18} {}\n", entry.name, entry.parameters, entry.source, "",
               entry.spec);
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
