#!/usr/bin/env bash
# Usage: bench/ladders/resources.sh NAME...
# What ptxas says about each kernel of these ladders, as a Markdown table: registers, static shared memory, spilled bytes.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
[ $# -gt 0 ] || { sed -n 2,3p "$0" >&2; exit 2; }
scratch=$(mktemp)
trap 'rm -f "$scratch"' EXIT
echo "| kernel (sm_90a) | registers | shared memory | spilled |"
echo "|---|---|---|---|"
for name in "$@"; do
  if ! nvcc -std=c++20 --expt-relaxed-constexpr -arch=sm_90a -Xptxas -v -I. -DFMT_USE_CONSTEXPR=1 -DHASHGRAD_WITH_CUDA=1 \
    -DHASHGRAD_WITH_EMULATOR=1 -c "bench/ladders/$name.cu" -o /dev/null 2>"$scratch"; then
    cat "$scratch" >&2
    exit 1
  fi
  c++filt <"$scratch" | awk -v ladder="$name" '
    /Compiling entry/ { kernel = substr($0, index($0, "(anonymous namespace)::") + 23); sub(/[(<].*/, "", kernel) }
    /spill stores/ { spilled = $5 }
    /Used/ { shared = 0; for (i = 2; i <= NF; i++) if ($i ~ /^smem/) shared = $(i - 2)
             match($0, /Used [0-9]+/); printf "| %s: %s | %s | %s | %s |\n", ladder, kernel, substr($0, RSTART + 5, RLENGTH - 5), shared, spilled }'
done
