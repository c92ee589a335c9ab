#!/usr/bin/env bash
# Usage: bench/run_gpu.sh [OUTPUT_FOLDER]
# Everything that needs a GPU, in one go of less than ten minutes: builds for the GPU at hand, runs all tests on it, runs
# them under compute-sanitizer, runs the kernel ladders, and the nets beside PyTorch. Needs nvcc; compute-sanitizer and a
# python3 with PyTorch are used when they are there, and named when they are not. The card's settings are left alone.
set -uo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
output=${1:-experiments/results/gpu}
mkdir -p "$output"
failures=0

step() {  # step NAME COMMAND...: runs it, keeps its log, says how it went
  local name=$1 start=$SECONDS
  shift
  echo "== $name: $*"
  if "$@" >"$output/$name.log" 2>&1; then
    echo "   ok, $((SECONDS - start)) s"
  else
    echo "   FAILED (exit $?), $((SECONDS - start)) s; the end of $output/$name.log:"
    tail -n 20 "$output/$name.log"
    failures=$((failures + 1))
  fi
}

nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,memory.total --format=csv | tee "$output/gpu.csv"
architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
[ "$architecture" = 90 ] && architecture=90a
build=build-cuda
generator=()
command -v ninja >/dev/null && generator=(-G Ninja)
step configure cmake --preset cuda "${generator[@]}" -DCMAKE_CUDA_ARCHITECTURES="$architecture-real"
step build cmake --build "$build" -j "$(nproc)"
step tests "$build/tests/hashgrad_tests" --duration=true
step parity env HASHGRAD_WRITE_DOCS=1 "$build/tests/hashgrad_tests" -tc='every op computes on every device*' # docs/parity.md
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    HASHGRAD_SKIP_EMULATOR=1 step "$tool" timeout 200 compute-sanitizer --tool "$tool" --error-exitcode 9 \
      "$build/tests/hashgrad_tests" -sf='*cuda_*,*device_test*'
  done
else
  echo "== compute-sanitizer is not here: not run"
fi
step ladders "$build/hashgrad" bench all --device cuda --json "$output/ladders.json"
python=$(command -v python3 || true)
if [ -n "$python" ] && "$python" -c 'import torch' 2>/dev/null; then
  step compare_pytorch bench/compare_pytorch.py --device cuda --build "$build" --python "$python" --rounds 5 \
    --rows 'a2/*,b2/*,hashed*/*' --output "$output/compare_pytorch"
else
  echo "== PyTorch is not here: not run"
fi
step mnist "$build/hashgrad" demo --device cuda --output "$output/demo"
echo "== $failures steps failed"
exit $((failures > 0))
