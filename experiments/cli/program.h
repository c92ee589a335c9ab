// From main() to exit code, for every program of this folder.
#pragma once

#include <functional>

#include "experiments/cli/options.h"

namespace hashgrad::cli {

/// Parses the command line and calls `work`. Returns 0 when done and what was printed has arrived, 1 on a
/// failure, 2 on bad usage, 130 when interrupted; everything but success is one line on stderr that begins
/// with the program's name.
int run_program(CLI::App& app, int argc, char** argv, const std::function<void()>& work);

}  // namespace hashgrad::cli
