#include "experiments/cli/options.h"

#include <cerrno>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fmt/ranges.h>
#include <limits>
#include <map>
#include <numeric>
#include <sstream>
#include <sys/stat.h>

#include "compression/layers.h"
#include "core/device.h"
#include "core/file.h"
#include "core/parallel.h"
#include "datasets/registry.h"
#include "datasets/tensor_file.h"

namespace hashgrad::cli {
namespace {

constexpr const char* output_shown = "FILE";  // in the help of flags whose files are written

/// The whole text as a number of type T, or nothing.
template <class T>
std::optional<T> parse_number(const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// A validator that accepts the text for which `good` holds; `what` completes "'abc' is not ...".
CLI::Validator accepting(std::string what, std::string shown, std::function<bool(const std::string&)> good) {
  return {[what, good](std::string& text) {
            return good(text) ? std::string() : fmt::format("'{}' is not {}", text, what);
          },
          std::move(shown)};
}

CLI::Validator real(std::string interval, std::function<bool(double)> good) {
  return accepting("a number in " + interval, interval, [good](const std::string& text) {
    const auto value = parse_number<double>(text);
    return value && std::isfinite(*value) && good(*value);
  });
}

std::string joined(const std::vector<std::string>& words, const char* between = ", ") {
  return fmt::format("{}", fmt::join(words, between));
}

std::vector<int64_t> read_indices(const std::string& path) {
  std::istringstream words(read_file(path, int64_t{1} << 30));
  std::vector<int64_t> indices;
  for (std::string word; words >> word;) {
    const auto index = parse_number<int64_t>(word);
    check(index && *index >= 0, "{}: entry {} is '{}', expected a sample index from 0", path, indices.size(),
          word);
    indices.push_back(*index);
  }
  check(!indices.empty(), "{}: holds no index; expected sample indices from 0, separated by space", path);
  return indices;
}

Dataset without_first(Dataset data, int64_t n) {
  check(n < data.size(), "--skip: {} of {} images leaves none", n, data.size());
  if (data.labelled()) data.labels = data.labels.slice(0, n, data.size()).contiguous();
  data.images = data.images.slice(0, n, data.size()).contiguous();
  return data;
}

Dataset cut(Dataset data, const DataFlags& flags) {
  if (!flags.indices.empty()) data = data.select(read_indices(flags.indices));
  if (flags.skip > 0) data = without_first(data, flags.skip);
  return flags.first > 0 ? data.first(flags.first) : data;
}

/// One name for all spellings of a file to write, behind all links.
std::filesystem::path resolved(const std::string& path) {
  std::error_code unreadable;
  const auto whole = std::filesystem::absolute(path);
  const auto file = std::filesystem::weakly_canonical(whole, unreadable);
  return unreadable ? whole : file;
}

bool is_output(const CLI::Option& option) { return option.get_type_name().ends_with(output_shown); }

std::vector<FileFlag> outputs_of(const CLI::App& verb) {
  std::vector<FileFlag> outputs;
  for (const CLI::Option* option : verb.get_options())
    if (option->count() > 0 && is_output(*option))
      outputs.push_back({option->get_name(), option->results().front(), ""});
  return outputs;
}

/// The output that may be written in the place of an input, if one may.
std::string heir_of(const std::string& input, const std::string& verb) {
  if (input == "--resume") return "--checkpoint";
  const bool makes_a_model_of_one = verb == "compress" || verb == "defend" || verb == "materialise";
  return input == "MODEL" && makes_a_model_of_one ? "--output" : "";
}

}  // namespace

std::vector<FileFlag> inputs_of(const CLI::App& verb) {
  constexpr const char* read[] = {"MODEL",  "VICTIM",    "SOURCE",      "TARGET",  "--input",
                                  "--data", "--indices", "--surrogate", "--start", "--resume"};
  std::vector<FileFlag> inputs;
  for (const CLI::Option* option : verb.get_options()) {
    const std::string name = option->get_name();
    const bool names_a_file = option->get_expected_max() > 0;  // --resume of `report` is a mere flag
    if (option->count() > 0 && names_a_file && std::count(std::begin(read), std::end(read), name) > 0)
      inputs.push_back({name, option->results().front(), heir_of(name, verb.get_name())});
  }
  return inputs;
}

void check_outputs(const std::vector<FileFlag>& outputs, const std::vector<FileFlag>& inputs) {
  std::map<std::filesystem::path, std::string> owners;  // the flag of each file
  for (const auto& [flag, path, unused] : outputs) {
    if (path.empty()) continue;
    const auto [owner, first] = owners.emplace(resolved(path), flag);
    if (!first) usage("{}: {} is the file of {} already", flag, path, owner->second);
  }
  for (const auto& [flag, path, heir] : inputs) {
    const auto owner = path.empty() ? owners.end() : owners.find(resolved(path));
    if (owner != owners.end() && owner->second != heir)
      usage("{}: {} is read for {}, and would be written over", owner->second, path, flag);
  }
  for (const auto& [flag, path, unused] : outputs)
    if (!path.empty()) AtomicFile probe(path);
}

CLI::Validator positive() {
  return real("(0, inf)", [](double v) { return v > 0; });
}

CLI::Validator not_negative() {
  return real("[0, inf)", [](double v) { return v >= 0; });
}

CLI::Validator number_in(double low, double high) {
  return real(fmt::format("[{}, {}]", low, high), [=](double v) { return v >= low && v <= high; });
}

CLI::Validator integer_in(int64_t low, int64_t high) {
  const std::string interval = high == std::numeric_limits<int64_t>::max()
                                   ? fmt::format("{} or more", low)
                                   : fmt::format("{} to {}", low, high);
  return accepting("an integer, " + interval, interval, [=](const std::string& text) {
    const auto value = parse_number<int64_t>(text);
    return value && *value >= low && *value <= high;
  });
}

CLI::Validator one_of(const std::vector<std::string>& words) {
  return accepting("available (accepted: " + joined(words) + ")", joined(words, "|"),
                   [words](const std::string& text) {
                     return std::find(words.begin(), words.end(), text) != words.end();
                   });
}

CLI::Validator parsed_by(const std::function<void(const std::string&)>& parse, const std::string& shown) {
  return {[parse](std::string& text) -> std::string {
            try {
              parse(text);
              return {};
            } catch (const Error& error) {
              return error.what();
            }
          },
          shown};
}

CLI::Validator seed_number() {
  return accepting("an integer, 0 to 2^64 - 1", "0 to 2^64 - 1",
                   [](const std::string& text) { return parse_number<uint64_t>(text).has_value(); });
}

CLI::Validator output_file() {
  return {[](std::string& path) -> std::string {
            if (path.empty()) return "the file name is empty";
            struct stat s {};
            if (::stat(path.c_str(), &s) == 0 && S_ISDIR(s.st_mode))
              return path + " is a folder, expected a file name";
            return {};
          },
          output_shown};
}

CLI::Validator layer_selection() {
  return accepting("all or last:K with K >= 1", "all|last:K",
                   [](const std::string& text) { return text == "all" || parse_last(text).has_value(); });
}

double parse_rate(const std::string& text) {
  const size_t slash = text.find('/');
  const auto above = parse_number<double>(text.substr(0, slash));
  const auto below =
      slash == std::string::npos ? std::optional(1.0) : parse_number<double>(text.substr(slash + 1));
  const double rate = above && below ? *above / *below : std::numeric_limits<double>::quiet_NaN();
  check(rate > 0 && rate <= 1, "'{}' is not a rate in (0, 1], such as 1/8 or 0.125", text);
  return rate;
}

std::vector<double> parse_rates(const std::string& text) {
  std::vector<double> rates;
  for (size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
    end = text.find(',', begin);
    rates.push_back(parse_rate(text.substr(begin, end == std::string::npos ? end : end - begin)));
  }
  return rates;
}

void add_common(CLI::App& verb, CommonFlags& flags) {
  constexpr const char* group = "Common";
  verb.add_option("--device", flags.device,
                  "where to compute: auto (the GPU, if there is one), cpu, cuda, cuda:N (the Nth of several, "
                  "from 0), emu")
      ->check(parsed_by([](const std::string& text) { parse_device(text); }, "DEVICE"))
      ->group(group);
  verb.add_option("--dtype", flags.dtype, "element type of the computation")
      ->check(one_of({"float32", "float64"}))
      ->group(group);
  verb.add_option("--seed", flags.seed, "seed of every random draw")->check(seed_number())->group(group);
  verb.add_option("--threads", flags.threads, "threads to use (0: one per core); results do not depend on it")
      ->check(integer_in(0, 1024))
      ->group(group);
  verb.add_option("--batch", flags.batch, "images per batch")->check(integer_in(1, 65536))->group(group);
  verb.add_flag("--quiet", flags.quiet, "no progress")->group(group);
  verb.add_option("--json", flags.json, "write the numbers, with every setting, to this file")
      ->check(output_file())
      ->group(group);
  verb.parse_complete_callback([&flags, &verb] {
    if (flags.threads > 0) set_threads(flags.threads);
    for (const FileFlag& input : inputs_of(verb))  // of a script whose variable is not set, most likely
      if (input.path.empty()) usage("{}: the name is empty", input.flag);
    check_outputs(outputs_of(verb), inputs_of(verb));
  });
}

Math CommonFlags::arithmetic() const {
  const Math wanted = parse_math(math);
  if (wanted != Math::fp32 && dtype != "float32") usage("--math {}: for --dtype float32 only", math);
  const bool split = wanted == Math::split_bf16 || wanted == Math::split_bf16_x6;
  if (split && where() != Device{}) usage("--math {}: for --device cpu only", math);
  return wanted;
}

void add_math(CLI::App& verb, CommonFlags& flags) {
  verb.add_option(
          "--math", flags.math,
          "how products of float32 are computed: fp32, split-bf16 (errors near 1e-5), split-bf16-x6 (as "
          "exact as fp32) or bf16")
      ->check(one_of(math_names()))
      ->group("Common");
}

void add_data(CLI::App& verb, DataFlags& flags) {
  constexpr const char* group = "Data";
  verb.add_option("--data", flags.data, accepted_datasets)
      ->check(parsed_by(check_dataset_name, "SET"))
      ->group(group);
  add_data_dir(verb, flags.data_dir)->group(group);
  verb.add_option("--split", flags.split, "part of a named set")
      ->check(one_of({"train", "test"}))
      ->group(group);
  verb.add_option("--first", flags.first, "use only the first N images (0: all)")
      ->check(integer_in(0, int64_t{1} << 40))
      ->group(group);
  verb.add_option("--skip", flags.skip, "leave out the first N images")
      ->check(integer_in(0, int64_t{1} << 40))
      ->group(group);
  verb.add_option("--indices", flags.indices, "use only the images whose indices this text file lists")
      ->group(group);
  if (CLI::Option* file = verb.get_option_no_throw("--input"))  // where these would do nothing
    for (const char* of_named_sets : {"--data-dir", "--split"})
      verb.get_option(of_named_sets)->excludes(file);
}

CLI::Option* add_data_dir(CLI::App& verb, std::string& folder) {
  return verb.add_option("--data-dir", folder,
                         "folder searched before $HASHGRAD_DATA and ~/.cache/hashgrad/data");
}

Dataset load(const DataFlags& flags) {
  if (!flags.given()) usage("--data: is missing (accepted: {})", accepted_datasets);
  DataOptions options;
  options.data_dir = flags.data_dir;
  if (flags.indices.empty() && flags.first > 0)
    options.first = flags.skip + flags.first;  // a generated set then draws no more than that
  return cut(load_dataset(flags.data, parse_split(flags.split), options), flags);
}

std::vector<int64_t> sample_numbers(const DataFlags& flags, int64_t n) {
  std::vector<int64_t> numbers(static_cast<size_t>(n));
  std::iota(numbers.begin(), numbers.end(), flags.skip);
  if (flags.indices.empty()) return numbers;
  const std::vector<int64_t> chosen = read_indices(flags.indices);
  for (int64_t& number : numbers) number = chosen.at(static_cast<size_t>(number));
  return numbers;
}

bool has_test_images(const DataFlags& flags) { return flags.split == "train" && has_test_split(flags.data); }

Dataset load_test(const DataFlags& flags, const std::string& flag) {
  if (flags.given() && !has_test_images(flags))
    usage("{}: {} --split {} has no test images besides those that are trained on", flag, flags.data,
          flags.split);
  return load({flags.data, flags.data_dir, "test"});
}

Dataset load_input(const std::string& input, const DataFlags& flags) {
  if (input.empty() && !flags.given())
    usage("--input: is missing (a safetensors file with x, or --data NAME)");
  if (!input.empty() && flags.given()) usage("--input: cannot be used together with --data");
  return input.empty() ? load(flags) : cut(read_tensor_file(input), flags);
}

void refuse_foreign_flags(const CLI::App& verb, const std::string& method) {
  for (const CLI::Option* option : verb.get_options()) {
    const std::string& group = option->get_group();
    if (option->count() == 0 || !group.starts_with("For ")) continue;
    const std::vector<std::string> methods = CLI::detail::split(group.substr(4), ',');
    const bool mine = std::any_of(methods.begin(), methods.end(),
                                  [&](std::string name) { return CLI::detail::trim(name) == method; });
    if (!mine) usage("{}: does not apply to {}, only to {}", option->get_name(), method, group.substr(4));
  }
}

nlohmann::ordered_json settings_of(const CLI::App& verb) {
  nlohmann::ordered_json settings;
  for (const CLI::Option* option : verb.get_options()) {
    std::string name = option->get_lnames().empty() ? option->get_single_name() : option->get_lnames()[0];
    if (name == "help" || name == "h") continue;
    const bool flag = option->get_expected_max() == 0;
    if (flag)
      settings[name] = option->count() > 0 && option->as<bool>();  // --quiet=false is one, too
    else
      settings[name] = option->count() > 0 ? joined(option->results(), " ") : option->get_default_str();
  }
  return settings;
}

std::string json_text(const nlohmann::ordered_json& json) {
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

void write_json(const std::string& path, nlohmann::ordered_json results, const CLI::App& verb) {
  if (path.empty()) return;
  results["verb"] = verb.get_name();
  results["command"] = command_line;
  results["settings"] = settings_of(verb);
  write_file(path, json_text(results));
}

}  // namespace hashgrad::cli
