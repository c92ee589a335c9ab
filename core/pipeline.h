// Work that a device repeats: inputs come in beside it, and it is recorded once and then run as a whole.
#pragma once

#include <functional>
#include <memory>

namespace hashgrad {

/// What one loop asks of its device. Made by make_pipeline() of each engine (cuda/pipeline.h), which returns
/// it through its argument, so that HASHGRAD_ON can choose.
class Pipeline {
 public:
  virtual ~Pipeline() = default;
  /// Calls copies(), which makes tensors from those of the host, while the device still works on what it was
  /// given before. Whatever is issued after upload() starts after the copies. The host's memory may be
  /// overwritten then.
  virtual void upload(const std::function<void()>& copies) = 0;
  /// Calls work(), which is recorded and not run: launches and copies within the device; a copy from or to
  /// the host, or a wait, is an Error. Returns what runs it, each time with the pointers and values of the
  /// recording: the tensors that work() found must live as long.
  virtual std::function<void()> record(const std::function<void()>& work) = 0;
};

namespace cpu {
/// The CPU has done its work when a call returns: a recording is the work itself.
void make_pipeline(std::unique_ptr<Pipeline>& made);
}  // namespace cpu

}  // namespace hashgrad
