#include "experiments/cli/program.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <sstream>
#include <system_error>

#include "experiments/cli/interrupt.h"
#include "experiments/try_print.h"

namespace hashgrad::cli {
namespace {

/// In single quotes, where a shell reads nothing but the end of them.
std::string quoted(const std::string& word) {
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

/// The command line with quotes where a shell would need them.
std::string as_typed(const std::string& program, int argc, char** argv) {
  std::string text = program;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const bool plain =
        !word.empty() && word.find_first_of(" \t\n'\"\\$&|;<>()[]{}*?#~`!") == std::string::npos;
    text += " " + (plain ? word : quoted(word));
  }
  return text;
}

/// Names in a message may have line breaks.
std::string in_one_line(const std::string& message) {
  std::string text;
  for (const char c : message) text += c == '\n' ? std::string("\\n") : std::string(1, c);
  return text;
}

int report(const CLI::App& app, const std::string& message, int exit_code) {
  try_print(stderr, "{}: {}\n", app.get_name(), in_one_line(message));
  return exit_code;
}

/// An Error unless what was printed was written. A reader that left early, as head does, wanted no more.
void check_output(bool written) {
  if (written || errno == EPIPE) return;
  fail("standard output: cannot be written: {}", std::strerror(errno));
}

/// False when the words only ask for text (--help, --version), which is then printed.
bool parsed(CLI::App& app, int argc, char** argv) try {
  app.parse(argc, argv);
  return true;
} catch (const CLI::Success& asked) {
  std::ostringstream text;
  app.exit(asked, text, text);
  check_output(std::fputs(text.str().c_str(), stdout) >= 0 && std::fflush(stdout) == 0);
  return false;
}

}  // namespace

int run_program(CLI::App& app, int argc, char** argv, const std::function<void()>& work) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file size limit is then a failed write, which has its message
  std::signal(SIGPIPE, SIG_IGN);  // a reader that has seen enough ends no work
  try {
    command_line = as_typed(app.get_name(), argc, argv);
    if (!parsed(app, argc, argv)) return 0;
    work();
    errno = EIO;  // should it be an earlier write that failed
    check_output(std::fflush(stdout) == 0 && std::ferror(stdout) == 0);
    return 0;
  } catch (const CLI::ParseError& error) {
    return report(app, error.what(), 2);
  } catch (const UsageError& error) {
    return report(app, error.what(), 2);
  } catch (const Interrupted& interrupted) {
    return report(app, "interrupted; " + interrupted.advice, 130);
  } catch (const std::bad_alloc&) {
    return report(app, "out of memory; a smaller --batch or --first needs less", 1);
  } catch (const std::system_error& error) {  // of fmt::print, most likely
    const bool printing = std::ferror(stdout) != 0;
    constexpr int as_by_sigpipe = 128 + SIGPIPE;  // what was not printed yet, or not written, is missing
    if (printing && error.code() == std::errc::broken_pipe) return as_by_sigpipe;
    return report(app, (printing ? "standard output: " : "") + std::string(error.what()), 1);
  } catch (const std::exception& error) {
    return report(app, error.what(), 1);
  }
}

}  // namespace hashgrad::cli
