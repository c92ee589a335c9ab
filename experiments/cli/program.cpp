#include "experiments/cli/program.h"

#include <csignal>
#include <cstdio>
#include <exception>
#include <new>

#include "experiments/cli/training.h"

namespace hashgrad::cli {
namespace {

/// The command line with quotes where a shell would need them.
std::string as_typed(const std::string& program, int argc, char** argv) {
  std::string text = program;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const bool plain = !word.empty() && word.find_first_of(" \t\n'\"\\$&|;<>()*?#~`!") == std::string::npos;
    text += plain ? " " + word : " '" + word + "'";
  }
  return text;
}

int report(const CLI::App& app, const std::string& message, int exit_code) {
  fmt::print(stderr, "{}: {}\n", app.get_name(), message.substr(0, message.find('\n')));
  return exit_code;
}

}  // namespace

int run_program(CLI::App& app, int argc, char** argv, const std::function<void()>& work) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file size limit is then a failed write, which has its message
  try {
    command_line = as_typed(app.get_name(), argc, argv);
    app.parse(argc, argv);
    work();
    return 0;
  } catch (const CLI::ParseError& error) {
    return error.get_exit_code() == 0 ? app.exit(error) : report(app, error.what(), 2);
  } catch (const UsageError& error) {
    return report(app, error.what(), 2);
  } catch (const Interrupted& interrupted) {
    return report(app, "interrupted; continue with --resume " + interrupted.checkpoint, 130);
  } catch (const std::bad_alloc&) {
    return report(app, "out of memory; a smaller --batch or --first needs less", 1);
  } catch (const std::exception& error) {
    return report(app, error.what(), 1);
  }
}

}  // namespace hashgrad::cli
