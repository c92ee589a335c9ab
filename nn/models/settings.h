// What stands in parentheses behind the name of a network: resnet18(classes=100,stem=imagenet).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace hashgrad {

/// Each of the functions below answers for one key. An Error that opens with the network's name where a value
/// is not accepted, and, in finish(), where a key is given that no function was asked for.
class NetworkSettings {
 public:
  /// `text`: "key=value,key=value", or empty.
  NetworkSettings(const std::string& network, const std::string& text);

  /// A whole number from `least`.
  int64_t number(const std::string& key, int64_t otherwise, int64_t least = 1);
  /// One of the words, the first of which is the default.
  std::string word(const std::string& key, const std::vector<std::string>& accepted);
  /// Any text without white space, which goes into the spec as it is.
  std::string text(const std::string& key);
  /// Whether the key is there; it takes no value.
  bool flag(const std::string& key);
  void finish() const;

 private:
  const std::string* find(const std::string& key);
  std::string network_;
  std::map<std::string, std::string> given_;
  std::vector<std::string> asked_;
};

/// The end of a spec of classes scores: `features` -> scores, tokens with the names of torchvision's one
/// layer, "fc". The settings are read here: `classes`; `fc=512@1/8192`, an extra hidden layer with ReLU in
/// front, which makes the two "fc.0" and "fc.2"; and `rate=1/256`, the output layer's own hashing.
std::string classifier_tokens(NetworkSettings& settings, int64_t usual_classes);

}  // namespace hashgrad
