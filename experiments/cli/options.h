// What the verbs of the command share: flags, their checks, inputs and the JSON of results.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/math_mode.h"
#include "core/tensor.h"
#include "datasets/dataset.h"

namespace hashgrad::cli {

/// Bad usage: the command exits with 2. Every other Error is a failure and exits with 1.
class UsageError : public Error {
 public:
  using Error::Error;
};

template <class... Args>
[[noreturn]] void usage(fmt::format_string<Args...> format, Args&&... args) {
  throw UsageError(fmt::format(format, std::forward<Args>(args)...));
}

/// What `work` returns; an Error of it is bad usage.
template <class F>
auto or_usage(const F& work) try {
  return work();
} catch (const Error& error) {
  usage("{}", error.what());
}

/// The words of this run as typed, for the record; run_program() sets it once.
inline std::string command_line;

// Checks of a flag's text, made before it is converted. Their message says what is accepted.
CLI::Validator positive();                             ///< a number in (0, inf)
CLI::Validator not_negative();                         ///< a number in [0, inf)
CLI::Validator number_in(double low, double high);     ///< a number in [low, high]
CLI::Validator integer_in(int64_t low, int64_t high);  ///< an integer in [low, high]
CLI::Validator one_of(const std::vector<std::string>& words);
/// Whatever `parse` accepts: its Error becomes the message.
CLI::Validator parsed_by(const std::function<void(const std::string&)>& parse, const std::string& shown);
CLI::Validator seed_number();  ///< 0 to 2^64 - 1
CLI::Validator output_file();  ///< a name that is not empty and not a folder

/// A file and the flag that names it; of one that is read, the flag of the output that may replace it.
struct FileFlag {
  std::string flag, path, heir{};
};
/// Before any work: a usage error when two of these are one file, or one is a file of `inputs`; an Error when
/// one cannot be written. An empty path is none.
void check_outputs(const std::vector<FileFlag>& outputs, const std::vector<FileFlag>& inputs = {});
/// The files that the command was told to read.
std::vector<FileFlag> inputs_of(const CLI::App& verb);

CLI::Validator layer_selection();  ///< all, or last:K

/// A share written as 1/8 or 0.125, in (0, 1].
double parse_rate(const std::string& text);

/// One share or several: 1/4096,1/128.
std::vector<double> parse_rates(const std::string& text);

struct CommonFlags {
  std::string device = "auto", dtype = "float32", math = "fp32", json;
  uint64_t seed = 0;
  int threads = 0;  // 0: all cores
  int64_t batch = 128;
  bool quiet = false;

  DType type() const { return dtype == "float64" ? DType::float64 : DType::float32; }
  Device where() const { return parse_device(device); }
  /// Bad usage unless the element type is one that the choice is for.
  Math arithmetic() const;
};

/// Adds the flags that every verb takes. They are applied (threads) before the verb runs, and the files that
/// it is to write are checked: each of its own, and writable.
void add_common(CLI::App& verb, CommonFlags& flags);

/// Adds --math to a verb that has products to compute.
void add_math(CLI::App& verb, CommonFlags& flags);

struct DataFlags {
  std::string data{}, data_dir{}, split = "test", indices{};
  int64_t first = 0, skip = 0;

  bool given() const { return !data.empty(); }
};

void add_data(CLI::App& verb, DataFlags& flags);
/// --data-dir alone.
CLI::Option* add_data_dir(CLI::App& verb, std::string& folder);
/// Loads what the flags say, cut down by --indices, --skip and --first.
Dataset load(const DataFlags& flags);
/// The numbers that n images loaded so have in the uncut data: their names in reports and for random draws.
std::vector<int64_t> sample_numbers(const DataFlags& flags, int64_t n);
/// Whether there are test images apart from those that the flags of a training choose.
bool has_test_images(const DataFlags& flags);
/// The whole test split, for `flag` of a training; bad usage where its images are trained on.
Dataset load_test(const DataFlags& flags, const std::string& flag);
/// `--input FILE` where there is one, else `--data`; neither or both is bad usage.
Dataset load_input(const std::string& input, const DataFlags& flags);

/// Options in the groups of `method`s (a group's name lists the methods, "fgsm, pgd") are refused when they
/// are given for another one.
void refuse_foreign_flags(const CLI::App& verb, const std::string& method);

/// Every flag with its value, given or default.
nlohmann::ordered_json settings_of(const CLI::App& verb);
/// As it is written to files. Paths in it may be of any bytes: those that are not UTF-8 become U+FFFD.
std::string json_text(const nlohmann::ordered_json& json);
/// Writes `results` with the command and its settings; nothing when --json was not given.
void write_json(const std::string& path, nlohmann::ordered_json results, const CLI::App& verb);

// One per verb, in experiments/cli/VERB.cpp: declares the verb's flags and what runs it.
void add_train(CLI::App& app);
void add_evaluate(CLI::App& app);
void add_predict(CLI::App& app);
void add_gradient(CLI::App& app);
void add_attack(CLI::App& app);
void add_compress(CLI::App& app);
void add_defend(CLI::App& app);
void add_report(CLI::App& app);
void add_substitute(CLI::App& app);
void add_transfer(CLI::App& app);
void add_materialise(CLI::App& app);
void add_info(CLI::App& app);
void add_models(CLI::App& app);
void add_demo(CLI::App& app);
void add_bench(CLI::App& app);

}  // namespace hashgrad::cli
