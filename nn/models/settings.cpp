#include "nn/models/settings.h"

#include <algorithm>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/settings.h"

namespace hashgrad {

NetworkSettings::NetworkSettings(const std::string& network, const std::string& text) : network_(network) {
  check(text.find_first_of(" \t\r\n") == std::string::npos, "{}({}): white space is not accepted", network,
        text);
  if (text.empty()) return;
  for (const std::string& setting : split_at(text, ',')) {
    const size_t equals = setting.find('=');
    const std::string key = setting.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : setting.substr(equals + 1);
    check(given_.emplace(key, value).second, "{}: '{}' is given twice", network, key);
  }
}

const std::string* NetworkSettings::find(const std::string& key) {
  asked_.push_back(key);
  const auto at = given_.find(key);
  return at == given_.end() ? nullptr : &at->second;
}

int64_t NetworkSettings::number(const std::string& key, int64_t otherwise, int64_t least) {
  constexpr double most = 1 << 20;
  const std::string* value = find(key);
  if (!value) return otherwise;
  const double number = parse_number(*value, network_ + ": " + key, static_cast<double>(least), most);
  check(number == static_cast<double>(static_cast<int64_t>(number)),
        "{}: {} is {}, a whole number is expected", network_, key, *value);
  return static_cast<int64_t>(number);
}

std::string NetworkSettings::word(const std::string& key, const std::vector<std::string>& accepted) {
  const std::string* value = find(key);
  if (!value) return accepted.front();
  check(std::find(accepted.begin(), accepted.end(), *value) != accepted.end(), "{}: {} is '{}'; accepted: {}",
        network_, key, *value, fmt::join(accepted, ", "));
  return *value;
}

std::string NetworkSettings::text(const std::string& key) {
  const std::string* value = find(key);
  check(!value || !value->empty(), "{}: {} needs a value", network_, key);
  return value ? *value : "";
}

bool NetworkSettings::flag(const std::string& key) {
  const std::string* value = find(key);
  check(!value || value->empty(), "{}: {} takes no value", network_, key);
  return value != nullptr;
}

void NetworkSettings::finish() const {
  for (const auto& [key, value] : given_)
    check(std::find(asked_.begin(), asked_.end(), key) != asked_.end(),
          "{}: '{}' is not one of its settings ({})", network_, key, fmt::join(asked_, ", "));
}

std::string classifier_tokens(NetworkSettings& settings, int64_t usual_classes) {
  const int64_t classes = settings.number("classes", usual_classes);
  const std::string hidden = settings.text("fc"), rate = settings.text("rate");
  const std::string output = fmt::format("fc{}{}", classes, rate.empty() ? "" : "@" + rate);
  return hidden.empty() ? fmt::format(" {}:fc", output)
                        : fmt::format(" fc{}:fc.0 relu {}:fc.2", hidden, output);
}

}  // namespace hashgrad
