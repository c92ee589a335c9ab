#include "experiments/study/noted_data.h"

#include <filesystem>

#include "core/file.h"
#include "datasets/digest.h"
#include "experiments/cli/options.h"

namespace hashgrad::study {

void check_noted_data(const std::string& folder, const Dataset& data, const Json& settings) {
  const std::string path = fmt::format("{}/data/{}.json", folder, key_of(settings)), digest = digest_of(data);
  if (!std::filesystem::exists(path)) {
    std::error_code shown_by_writing;
    std::filesystem::create_directories(folder + "/data", shown_by_writing);
    write_file(path, cli::json_text({{"settings", settings}, {"digest", digest}}));
  }
  const Json note = Json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
  check(note.is_object() && note.value("settings", Json{}) == settings && note.contains("digest"),
        "{}: is damaged; delete it, and it is written again", path);
  check(note["digest"] == digest,
        "{}: was used with other images or labels of {}, {} split, first {}, than those found now; choose "
        "another --output (the digest is {}, {} notes {})",
        folder, settings.at("data").get<std::string>(), settings.at("split").get<std::string>(),
        settings.at("n").get<int64_t>(), digest, path, note["digest"].dump());
}

}  // namespace hashgrad::study
