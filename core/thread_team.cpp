#include "core/thread_team.h"

#include <chrono>
#include <system_error>
#include <thread>

namespace hashgrad {
namespace {

constexpr uint32_t seat = 1u << 16, inside = seat - 1;

/// Loops of a running network mostly follow each other within the first of these times. Until the second is
/// over a thread stays awake where nobody else wants its core: a core that has gone to sleep may take longer
/// to wake than the loop that it is wanted for, and so would sleep through one loop after the other.
constexpr std::chrono::microseconds attentive{50}, awake{2000};

void pause() {
#ifdef __x86_64__
  __builtin_ia32_pause();
#endif
}

/// Waits until `changed(value)`: first attentive, then giving way to others, then asleep. Whoever changes it
/// must notify.
template <class Changed>
uint32_t wait_for(const std::atomic<uint32_t>& value, const Changed& changed) {
  const auto start = std::chrono::steady_clock::now();
  for (auto waited = start - start; waited < awake; waited = std::chrono::steady_clock::now() - start) {
    if (waited >= attentive) std::this_thread::yield();
    for (int i = 0; i < 32; ++i, pause())
      if (const uint32_t v = value.load(std::memory_order_acquire); changed(v)) return v;
  }
  for (;;) {
    const uint32_t v = value.load(std::memory_order_acquire);
    if (changed(v)) return v;
    value.wait(v, std::memory_order_acquire);
  }
}

}  // namespace

Team& Team::instance() {
  static Team& team = *new Team;
  return team;
}

void Team::run(int helpers, const std::function<void()>& work) {
  const std::unique_lock alone(in_use_, std::try_to_lock);
  if (!alone || helpers <= 0) return work();
  hire(helpers);
  work_ = &work;
  door_.store(static_cast<uint32_t>(helpers) * seat, std::memory_order_release);
  loops_.fetch_add(1, std::memory_order_release);
  loops_.notify_all();
  work();
  door_.fetch_and(inside, std::memory_order_relaxed);  // who has not come by now is not needed
  wait_for(door_, [](uint32_t v) { return v == 0; });
}

void Team::hire(int helpers) try {
  for (; hired_ < helpers; ++hired_) std::thread([this] { help(); }).detach();
} catch (const std::system_error&) {
  // The system has no more threads to give: loops run with those that are there.
}

void Team::help() {
  for (uint32_t seen = 0;;) {
    seen = wait_for(loops_, [seen](uint32_t v) { return v != seen; });
    if (!join()) continue;
    (*work_)();
    leave();
  }
}

bool Team::join() {
  uint32_t v = door_.load(std::memory_order_relaxed);
  while (v >= seat)
    if (door_.compare_exchange_weak(v, v - seat + 1, std::memory_order_acquire, std::memory_order_relaxed))
      return true;
  return false;
}

void Team::leave() {
  if (door_.fetch_sub(1, std::memory_order_release) == 1) door_.notify_all();
}

}  // namespace hashgrad
