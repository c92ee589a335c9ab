#include "experiments/cli/interrupt.h"

#include <csignal>
#include <filesystem>

#include "core/error.h"

namespace hashgrad::cli {
namespace {

std::atomic<bool> stop_wanted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "set inside a signal handler");

extern "C" void on_interrupt(int signal) {
  stop_wanted = true;
  std::signal(signal, SIG_DFL);  // a second one ends the program at once
}

}  // namespace

InterruptGuard::InterruptGuard()
    : interrupt_(std::signal(SIGINT, on_interrupt)), terminate_(std::signal(SIGTERM, on_interrupt)) {}

InterruptGuard::~InterruptGuard() {
  std::signal(SIGINT, interrupt_);
  std::signal(SIGTERM, terminate_);
}

const std::atomic<bool>* InterruptGuard::flag() { return &stop_wanted; }

void refuse_unfinished(const std::string& checkpoint, const std::string& flag) {
  check(!std::filesystem::exists(checkpoint),
        "{}: is of a run that was interrupted; go on with {}, or remove it", checkpoint, flag);
}

}  // namespace hashgrad::cli
