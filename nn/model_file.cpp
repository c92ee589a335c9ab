#include "nn/model_file.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "nn/defences.h"
#include "nn/draw_methods.h"
#include "nn/randomised.h"
#include "nn/weight_codec.h"

namespace hashgrad {
namespace {

using nlohmann::json;

/// The methods of defences that this version knows.
constexpr std::array<std::string_view, 12> known_defences{"gi1",
                                                          "gi2",
                                                          "gi3",
                                                          "logits-augmentation",
                                                          "dropout",
                                                          "bit-depth",
                                                          "median",
                                                          "jpeg",
                                                          "feature-distillation",
                                                          "distill",
                                                          "adversarial-training",
                                                          "hash-classifier"};

/// Tensors with these prefixes belong to a checkpoint's training, not to its model.
constexpr std::array<std::string_view, 2> training_prefixes{"optimizer.", "train."};

std::string metadata_or(const Archive& archive, const std::string& key, const std::string& otherwise) {
  const auto it = archive.metadata.find(key);
  return it == archive.metadata.end() ? otherwise : it->second;
}

HashOptions read_hash_options(const Archive& archive, const std::string& name) {
  HashOptions hash;
  const std::string mode = metadata_or(archive, "hash_mode", "full");
  const auto known =
      std::find_if(hash_modes.begin(), hash_modes.end(), [&](HashMode m) { return name_of(m) == mode; });
  check(known != hash_modes.end(),
        "{}: metadata hash_mode is '{}', 'full', 'strat', 'window' or 'xxhash' is expected", name, mode);
  hash.mode = *known;
  if (hash.mode == HashMode::xxhash) hash.seed = xxhash_default_seed;
  const std::string seed = metadata_or(archive, "hash_seed", std::to_string(hash.seed));
  const auto [end, error] = std::from_chars(seed.data(), seed.data() + seed.size(), hash.seed);
  check(error == std::errc{} && end == seed.data() + seed.size(),
        "{}: metadata hash_seed is '{}', a number from 0 to 2^64 - 1 is expected", name, seed);
  const std::string bias = metadata_or(archive, "hash_bias", "false");
  check(bias == "true" || bias == "false", "{}: metadata hash_bias is '{}', 'true' or 'false' is expected",
        name, bias);
  hash.bias = bias == "true";
  return hash;
}

bool belongs_to_training(const std::string& tensor) {
  return std::any_of(training_prefixes.begin(), training_prefixes.end(),
                     [&](std::string_view prefix) { return tensor.starts_with(prefix); });
}

DType dtype_of_tensors(const Archive& archive) {
  for (const auto& [name, tensor] : archive.tensors)
    if (tensor.dtype() == DType::float64 && !belongs_to_training(name)) return DType::float64;
  return DType::float32;
}

/// Copies one tensor of the archive into the model, after every check that it can bear.
void load_tensor(const Tensor& from, Tensor& to, const std::string& where) {
  check(from.shape() == to.shape(), "{} has shape {}, the spec asks for {}", where, from.shape(), to.shape());
  check(is_floating(from.dtype()) == is_floating(to.dtype()), "{} holds {}, {} is expected", where,
        name_of(from.dtype()), name_of(to.dtype()));
  if (is_floating(from.dtype())) check_finite(from, where);
  to.copy_from(from);
}

/// The input transforms among the defences; the list has been checked.
void add_transforms(Model& model, const std::string& name) {
  for (const json& entry : defences_of(model, name)) {
    const std::string method = entry["method"].get<std::string>();
    const TransformKind* kind = find_transform(method);
    if (!kind) continue;
    check(entry.contains(kind->setting) && entry[kind->setting].is_number_integer(),
          "{}: metadata defences has a '{}' without an integer \"{}\"", name, method, kind->setting);
    try {
      model.add_transform(make_input_transform(method, entry[kind->setting].get<int64_t>()));
    } catch (const Error& error) {
      fail("{}: {}", name, error.what());
    }
  }
}

/// What is not recorded would be missing when the file is read.
void check_transforms_recorded(const Model& model) {
  const json list = defences_of(model, "model");
  const auto recorded = std::count_if(list.begin(), list.end(), [](const json& entry) {
    return entry.is_object() && entry.contains("method") && entry["method"].is_string() &&
           find_transform(entry["method"].get<std::string>());
  });
  check(recorded == std::ssize(model.transforms()),
        "model: input transforms: {} in front of it, {} in its metadata defences; a file of it would compute "
        "something else",
        model.transforms().size(), recorded);
}

/// What the metadata say of the model's numbers, each checked to be about something that the model has.
Coding read_coding(const Archive& archive, Model& model, const std::string& name) {
  const Coding coding = coding_of(archive.metadata, name);
  const std::vector<Parameter> parameters = model.parameters();
  for (const auto& [parameter, unused] : coding.parameters)
    check(std::any_of(parameters.begin(), parameters.end(),
                      [&](const Parameter& p) { return p.name == parameter; }),
          "{}: metadata masks or quantisers name the parameter '{}', which '{}' does not have", name,
          parameter, short_text(model.spec()));
  for (const auto& [layer, unused] : coding.activations)
    check(layer < model.spec().layers.size(), "{}: metadata quantisers name layer {}, '{}' has {}", name,
          layer, short_text(model.spec()), model.spec().layers.size());
  return coding;
}

void check_variance(const Tensor& variance, const std::string& where) {
  for_float_type(variance.dtype(), "check_variance", [&]<class T>() {
    for (int64_t i = 0; i < variance.numel(); ++i)
      check(variance.data<T>()[i] >= 0, "{}: value {} is {}, a variance is never negative", where, i,
            variance.data<T>()[i]);
  });
}

}  // namespace

void check_finite(const Tensor& tensor, const std::string& what) {
  for_float_type(tensor.dtype(), "check_finite", [&]<class T>() {
    const T* values = tensor.data<T>();
    for (int64_t i = 0; i < tensor.numel(); ++i)
      check(std::isfinite(values[i]), "{}: value {} is {}, finite numbers are expected", what, i, values[i]);
  });
}

void check_known_defences(const std::map<std::string, std::string>& metadata, const std::string& name) {
  for (const json& entry : defences_of(metadata, name)) {
    check(entry.is_object() && entry.contains("method") && entry["method"].is_string(),
          "{}: metadata defences has an entry that is not an object with a \"method\"", name);
    const std::string method = entry["method"].get<std::string>();
    const bool known =
        std::find(known_defences.begin(), known_defences.end(), method) != known_defences.end();
    check(known || (draw_method(method) != nullptr && entry.contains("draws")),
          "{}: metadata defences names '{}', which this version does not know (it knows: {}); without it the "
          "model would compute something else",
          name, method, fmt::join(known_defences, ", "));
  }
}

Model model_from_archive(const Archive& archive, const std::string& name) {
  const std::string spec = metadata_or(archive, "spec", "");
  check(!spec.empty(), "{}: has no 'spec' in its metadata; a model file needs one", name);
  check_known_defences(archive.metadata, name);
  const ModelOptions options{
      .dtype = dtype_of_tensors(archive), .init = Init::zeros, .hash = read_hash_options(archive, name)};
  Model model = [&] {
    try {
      return Model(spec, options);
    } catch (const Error& error) {
      fail("{}: {}", name, error.what());
    }
  }();
  model.coding = read_coding(archive, model, name);
  std::set<std::string> used;
  for (auto& [key, tensor] : model.state()) {
    const ParameterCoding coding = model.coding.of(key);
    for (const std::string& part : tensors_of_parameter(archive, key, coding)) used.insert(part);
    const bool optional = key.ends_with("num_batches_tracked");
    if (optional && !archive.tensors.contains(key)) continue;
    const std::string where = fmt::format("{}: tensor '{}'", name, key);
    load_tensor(decode_parameter(archive, key, tensor.shape(), model.dtype(), coding, name), tensor, where);
    if (key.ends_with("running_var")) check_variance(tensor, where);
  }
  for (const auto& [key, tensor] : archive.tensors)
    check(used.contains(key) || belongs_to_training(key), "{}: tensor '{}' {} has no place in '{}'", name,
          key, tensor.shape(), short_text(model.spec()));
  model.metadata = archive.metadata;
  check_draws(model, name);
  add_transforms(model, name);
  return model;
}

Archive archive_of(const Model& model) {
  check_transforms_recorded(model);
  Archive archive{{}, model.metadata};
  for (const auto& [name, tensor] : model.state()) {
    const std::string what = fmt::format("model: parameter '{}'", name);
    for (const auto& [suffix, part] : encode_parameter(tensor.to(Device{}), model.coding.of(name), what))
      archive.tensors[name + suffix] = part;
  }
  archive.metadata["spec"] = to_string(model.spec());
  for (const char* key : {"hash_seed", "hash_mode", "hash_bias", "masks", "quantisers"})
    archive.metadata.erase(key);
  archive.metadata.merge(metadata_of(model.coding));
  const auto& layers = model.spec().layers;
  if (std::any_of(layers.begin(), layers.end(), [](const LayerSpec& l) { return l.hashed(); })) {
    archive.metadata["hash_seed"] = std::to_string(model.hash().seed);
    archive.metadata["hash_mode"] = name_of(model.hash().mode);
    archive.metadata["hash_bias"] = model.hash().bias ? "true" : "false";
  }
  return archive;
}

Model load_model(const std::string& path) { return model_from_archive(read_archive(path), path); }

void save_model(const std::string& path, const Model& model) {
  const Archive archive = archive_of(model);
  for (const auto& [name, tensor] : archive.tensors)
    if (is_floating(tensor.dtype())) check_finite(tensor, fmt::format("{}: tensor '{}'", path, name));
  write_archive(path, archive);
}

}  // namespace hashgrad
