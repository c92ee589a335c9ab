#!/usr/bin/env python3
"""Hashgrad beside PyTorch: time and peak memory of the same work in one run, on the CPU or on a GPU.

Every side of a row is a process of its own with the same number of threads; all sides of a row take turns, so that a busy
moment of the machine meets each. A repetition calls the work as often as fills about a third of a second, after a pause
in which the other sides' waiting threads go to sleep; its time is that of one call. Both sides compute in float32 without
TF32, on the same layers: the numbers of parameters are compared. On a GPU our training step is one recorded graph, as in
`hashgrad train`. Memory on the CPU is the peak resident size above what the process held before the work was set up, on a
GPU the peak of what tensors held.

PyTorch is measured in each of its ways of doing the same, and its time is the fastest: networks and convolutions in NCHW
and in channels_last, Jacobians class by class and by vmap, hashed weights by w[index], index_select and scatter_add_. "compiled"
is a column of its own: torch.compile on a GPU, on the CPU TorchScript, frozen and optimised for inference (logits only).
So is ONNX Runtime (--onnxruntime; logits of networks).

--math lists our arithmetics (core/math_mode.h). Each is a side of its own; PyTorch computes beside bf16 under its autocast
to bfloat16, beside the others in float32, which is measured once. Errors are max |a-b| / max |b| against our own float64
with the same weights, on at most 32 images, of the result and of its gradient with respect to the images, for random
cotangents (a ReLU or a pooling that decides otherwise moves the gradient by more than rounding does).

"Busy" is how many cores other processes kept busy while a row was measured. Rows above 0.1 are marked: distrust them.

Rows: {a2,b2,lenet5,vgg16,resnet18}/{forward,train,fgsm,pgd10,jacobian}; {hashed8,hashed64,dense}/{forward,train}, a layer
6272 -> 512 alone, forward or with the gradients of input, weights and bias; {conv1,conv3}/dinput, the input gradient of a
first convolution alone. Patterns choose: --rows 'a2/*,hashed*/train'.

  bench/compare_pytorch.py [--device cpu|cuda] [--python /usr/bin/python3] [--rows 'a2/*,hashed8/train'] [--math fp32,bf16]
                           [--batch 128] [--rounds 9] [--output experiments/results/compare_pytorch]
  bench/compare_pytorch.py --batch 1 --rows 'a2/forward,lenet5/forward' --onnxruntime PYTHON      latency

Needs: a release build (scripts/build), and for the peers `apt-get install python3-torch python3-torchvision
libopenblas0-pthread`, and an interpreter with the package onnxruntime.
"""
import argparse
import fnmatch
import functools
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

from busy import Busy
from peers import CONVOLUTIONS, LINEAR

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEERS = ROOT / "bench" / "peers.py"
NETS = {
    "a2": "A2 net (conv64 5x5, conv128 5x5, fc512, fc10)",
    "b2": "B2 net (seven layers, 3x3)",
    "lenet5": "LeNet5 (conv20 5x5, conv50 5x5, fc500, fc10)",
    "vgg16": "VGG-16 at 32x32 (13 conv 3x3 with BN, fc512, fc512, fc10)",
    "resnet18": "ResNet-18 at 32x32 (torchvision's, with a 3x3 stem)",
    "hashed8": "hashed layer 6272 -> 512, rate 1/8",
    "hashed64": "hashed layer 6272 -> 512, rate 1/64",
    "dense": "dense layer 6272 -> 512",
    "conv1": "first convolution 1 -> 64, 5x5, at 28x28",
    "conv3": "first convolution 3 -> 64, 3x3, at 32x32",
}
NETWORKS = [n for n in NETS if n not in LINEAR + CONVOLUTIONS]
TASKS = {
    "forward": "logits",
    "train": "training step (SGD, momentum)",
    "fgsm": "input gradient and signed step (FGSM)",
    "pgd10": "PGD, 10 steps",
    "jacobian": "Jacobian, 10 classes",
}
ROWS = [f"{n}/{t}" for n in NETWORKS for t in TASKS]
ROWS += [f"{n}/{t}" for n in LINEAR for t in ("forward", "train")] + [f"{n}/dinput" for n in CONVOLUTIONS]
DEFAULT_ROWS = "a2/*,b2/*,lenet5/*,vgg16/[ft]*,resnet18/[ft]*,hashed*/*,dense/*,conv*/*"
MATHS = ("fp32", "split-bf16-x6", "split-bf16", "bf16")
PAUSE = 0.05  # seconds before each repetition
REPETITION = 300  # milliseconds, at least one call
BUSY = 0.1  # cores; rows above are marked
# PyTorch has no cache of CPU memory: without these, every large tensor is mapped and page-faulted anew.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 33), "MALLOC_TRIM_THRESHOLD_": str(1 << 34), "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def work_of(row):
    net, task = row.split("/")
    if net in LINEAR:
        return {"forward": "forward", "train": "forward and all gradients"}[task]
    return "input gradient alone" if task == "dinput" else TASKS[task]


class Side:
    def __init__(self, command, threads, settings={}):
        env = dict(os.environ, OMP_NUM_THREADS=str(threads), **settings)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self.name, _, self.parameters = self.process.stdout.readline().strip().partition("|")
        if not self.name:
            sys.exit(f"compare_pytorch: cannot run {' '.join(map(str, command))}")
        self.times, self.memory = [], 0.0

    def repeat(self, calls):
        time.sleep(PAUSE)
        self.process.stdin.write(f"{calls}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        self.memory = float(answer[1])
        return float(answer[0])

    def warm_up(self):
        self.repeat(2)
        self.calls = max(1, round(REPETITION / self.repeat(1)))

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    @property
    def ms(self):
        return statistics.median(self.times)


def take_turns(sides, rounds):
    """Fills the sides' times. Returns how many cores other processes kept busy meanwhile."""
    for side in sides:
        side.warm_up()
    busy = Busy([side.process.pid for side in sides])
    for _ in range(rounds):
        for side in sides:
            side.times.append(side.repeat(side.calls))
    return busy.cores()


def ways_of(net, task, device, math):
    """PyTorch's ways of doing the same."""
    if net == "dense":
        return ["nchw"]
    if net in LINEAR:
        return ["index", "index_select", "scatter_add"]
    compiles = net in NETWORKS and math != "bf16" and (device == "cuda" or task == "forward")
    batched = ["nchw vmap", "channels_last vmap"] if task == "jacobian" else []
    return ["nchw", "channels_last"] + batched + ["compiled"] * compiles


def onnxruntime_side(net, args):
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/{net}.onnx"
        subprocess.run([args.python, PEERS, "export", net, str(args.batch), file], check=True)
        return Side([args.onnxruntime, PEERS, "onnxruntime", file, str(args.threads)], args.threads)


def start_sides(row, args):
    """Ours by arithmetic; PyTorch's by its arithmetic and way; ONNX Runtime's, or None."""
    net, task = row.split("/")
    command = [net, task, str(args.batch), str(args.threads)]
    ours = {math: Side([args.build / "bench_nets", *command, args.device, math], args.threads) for math in args.math}
    theirs = {}
    for math in dict.fromkeys(peer_math(math) for math in args.math):
        for way in ways_of(net, task, args.device, math):
            theirs[math, way] = Side([args.python, PEERS, "pytorch", *command, way, args.device, math], args.threads, MALLOC)
    wanted = args.onnxruntime and args.device == "cpu" and task == "forward" and net in NETWORKS
    return ours, theirs, onnxruntime_side(net, args) if wanted else None


def peer_math(math):
    return "bf16" if math == "bf16" else "fp32"


@functools.lru_cache(maxsize=None)
def errors_of(net, math, batch, build):
    """Of the result and of its gradient, measured once per network."""
    command = [build / "bench_nets", net, "error", str(min(batch, 32)), str(os.cpu_count()), "cpu", math]
    return [float(word) for word in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()]


def measure(row, args):
    """A result per arithmetic."""
    ours, theirs, onnx = start_sides(row, args)
    sides = [*ours.values(), *theirs.values()] + [onnx] * bool(onnx)
    counts = {side.parameters for side in sides if side.parameters}
    if len(counts) != 1:
        sys.exit(f"compare_pytorch: {row}: the sides have different numbers of parameters: {', '.join(sorted(counts))}")
    busy = take_turns(sides, args.rounds)
    results = [result_of(row, math, ours[math], theirs, onnx, args) for math in args.math]
    for side in sides:
        side.close()
    return [dict(result, busy_cores=round(busy, 3)) for result in results]


def result_of(row, math, mine, theirs, onnx, args):
    net = row.split("/")[0]
    peers = {way: side for (of, way), side in theirs.items() if of == peer_math(math)}
    way, best = min(((w, s) for w, s in peers.items() if w != "compiled"), key=lambda item: item[1].ms)
    result = {
        "row": row, "net": NETS[net], "task": work_of(row), "math": math, "batch": args.batch, "device": args.device,
        "threads": args.threads, "rounds": args.rounds, "peer": best.name, "peer_math": peer_math(math), "peer_way": way,
        "hashgrad_ms": round(mine.ms, 4), "pytorch_ms": round(best.ms, 4), "ratio": round(best.ms / mine.ms, 3),
        "pytorch_ways_ms": {w: round(s.ms, 4) for w, s in peers.items()},
        "compiled_ratio": round(peers["compiled"].ms / mine.ms, 3) if "compiled" in peers else None,
        "hashgrad_images_per_s": round(args.batch / mine.ms * 1e3, 1), "pytorch_images_per_s": round(args.batch / best.ms * 1e3, 1),
        "hashgrad_peak_mib": mine.memory, "pytorch_peak_mib": best.memory,
        "errors": errors_of(net, math, args.batch, args.build) if args.device == "cpu" else None,
    }
    if onnx:
        result.update(onnxruntime=onnx.name, onnxruntime_ms=round(onnx.ms, 4), onnxruntime_ratio=round(onnx.ms / mine.ms, 3))
    return result


def processor(device):
    if device == "cuda":
        return subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True).stdout.strip()
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.machine()


def columns_of(results, args):
    """(heading, how a result is shown) of each column that there is something for."""
    def speed(side):
        if args.batch == 1:
            return f"{side} ms", lambda r: f"{r[side.lower() + '_ms']:.3f}"
        return f"{side} img/s", lambda r: f"{r[side.lower() + '_images_per_s']:.0f}"

    def ratio(heading, key):
        return heading, lambda r: f"{r[key]:.2f}" if r.get(key) else ""

    columns = [("net", lambda r: r["net"]), ("work", lambda r: r["task"]), ("math", lambda r: r["math"])]
    columns += [speed("Hashgrad"), speed("PyTorch")]
    columns.append(("ratio", lambda r: f"**{r['ratio']:.2f}**" + " †" * (r["busy_cores"] > BUSY)))
    if any(r["compiled_ratio"] for r in results):
        columns.append(ratio("to compiled", "compiled_ratio"))
    if any("onnxruntime" in r for r in results):
        columns.append(ratio("to ONNX Runtime", "onnxruntime_ratio"))
    if any(r["math"] != "fp32" and r["errors"] for r in results):
        columns.append(("error, of gradient", lambda r: "{:.0e}, {:.0e}".format(*r["errors"])))
    return columns + [(f"{side} MiB", lambda r, key=f"{side.lower()}_peak_mib": f"{r[key]:.0f}") for side in ("Hashgrad", "PyTorch")]


def ratios(results, args):
    """A line per row with the ratio of every arithmetic: the table of a run with several."""
    rows = {}
    for r in results:
        rows.setdefault(r["row"], {})[r["math"]] = r
    have = [m for m in MATHS if m in args.math]
    unit = "ms" if args.batch == 1 else "img/s"
    keys = ("pytorch_ms", ".3f") if args.batch == 1 else ("pytorch_images_per_s", ".0f")
    first = [m for m in have if m != "bf16"]
    extra = {"compiled_ratio": "fp32 to compiled", "onnxruntime_ratio": "fp32 to ONNX Runtime"}
    extra = {key: text for key, text in extra.items() if any(r.get(key) for r in results if r["math"] == "fp32")}
    heading = ["net", "work", f"PyTorch {unit}", *first, *extra.values()]
    heading += [f"PyTorch bf16 {unit}", "bf16"] if "bf16" in have else []
    lines = ["| " + " | ".join(heading + ["MiB", "PyTorch MiB"]) + " |", "|---|---|" + "---:|" * len(heading)]
    for maths_of in rows.values():
        r = maths_of[first[0]]
        cells = [r["net"], r["task"] + " †" * (r["busy_cores"] > BUSY), format(r[keys[0]], keys[1])]
        cells += [f"**{maths_of[m]['ratio']:.2f}**" for m in first]
        cells += [f"{r[key]:.2f}" if r.get(key) else "" for key in extra]
        if "bf16" in have:
            cells += [format(maths_of["bf16"][keys[0]], keys[1]), f"**{maths_of['bf16']['ratio']:.2f}**"]
        lines.append("| " + " | ".join(cells + [f"{r['hashgrad_peak_mib']:.0f}", f"{r['pytorch_peak_mib']:.0f}"]) + " |")
    return lines


def errors_by_net(results):
    """Errors of logits and input gradients against float64, where there are several arithmetics."""
    lines = []
    for net in dict.fromkeys(r["net"] for r in results):
        errors = {r["math"]: r["errors"] for r in results if r["net"] == net and r["errors"]}
        if len(errors) > 1:
            lines.append(f"| {net} | " + " | ".join("{:.0e}, {:.0e}".format(*errors[m]) if m in errors else "" for m in MATHS) + " |")
    heading = ["", "## Errors of the result, and of its input gradient, against float64", "", "| net | " + " | ".join(MATHS) + " |",
               "|---|" + "---:|" * len(MATHS)]
    return heading + lines if lines else []


def hashed_beside_dense(results):
    """A sentence per arithmetic and task for which both layers were measured."""
    times = {(r["row"], r["math"]): r["hashgrad_ms"] for r in results}
    lines = []
    for (row, math), ms in times.items():
        dense = times.get((f"dense/{row.split('/')[1]}", math))
        if row.startswith("hashed") and dense:
            lines.append(f"- {row}, {math}: {ms / dense:.2f} of the time of our dense layer ({ms:.2f} and {dense:.2f} ms)")
    return ["", "## Hashed beside dense", "", *lines] if lines else []


def markdown(results, args):
    peers = sorted({r[key] for r in results for key in ("peer", "onnxruntime") if key in r}, reverse=True)
    columns = columns_of(results, args)
    lines = [
        f"`{' '.join(['bench/compare_pytorch.py', *sys.argv[1:]])}`",
        "",
        f"{processor(args.device)}, {args.threads} threads, batch {args.batch}, median of {args.rounds} alternating repetitions, "
        f"{', '.join(peers)}. Ratio above 1: Hashgrad is faster. Memory: peak above the idle process."
        + (" Beside bf16 PyTorch computes under autocast to bfloat16." if "bf16" in args.math else "")
        + (" Hashgrad's training step is one CUDA graph." if args.device == "cuda" else ""),
        "",
    ]
    if len(args.math) > 1:
        lines += ratios(results, args)
    else:
        lines += ["| " + " | ".join(heading for heading, _ in columns) + " |", "|---|---|---|" + "---:|" * (len(columns) - 3)]
        lines += ["| " + " | ".join(show(r) for _, show in columns) + " |" for r in results]
    busy = {r["row"]: r["busy_cores"] for r in results if r["busy_cores"] > BUSY}
    if busy:
        lines += ["", "† Other processes kept cores busy meanwhile: " + ", ".join(f"{row} {b:.2f}" for row, b in busy.items()) + "."]
    return "\n".join(lines + errors_by_net(results) + hashed_beside_dense(results)) + "\n"


def print_progress(r):
    onnx = f"   onnxruntime {r['onnxruntime_ms']:9.3f} ms" if "onnxruntime" in r else ""
    print(f"{r['row']:18} {r['math']:13} hashgrad {r['hashgrad_ms']:9.3f} ms   pytorch {r['pytorch_ms']:9.3f} ms ({r['peer_way']})   "
          f"ratio {r['ratio']:.2f}{onnx}   MiB {r['hashgrad_peak_mib']:.0f} / {r['pytorch_peak_mib']:.0f}   busy {r['busy_cores']:.2f}",
          flush=True)


def chosen(patterns):
    rows = []
    for pattern in patterns.split(","):
        found = fnmatch.filter(ROWS, pattern)
        if not found:
            sys.exit(f"compare_pytorch: --rows: no row is called '{pattern}' (there are: {' '.join(ROWS)})")
        rows += [row for row in found if row not in rows]
    return rows


def maths(text):
    wanted = text.split(",")
    if not set(wanted) <= set(MATHS):
        raise argparse.ArgumentTypeError(f"a comma list of {', '.join(MATHS)} is expected")
    return tuple(wanted)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--python", default="/usr/bin/python3", help="an interpreter that has torch")
    p.add_argument("--onnxruntime", metavar="PYTHON", help="an interpreter that has onnxruntime")
    p.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    p.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    p.add_argument("--rows", default=DEFAULT_ROWS, help="rows or patterns of them, a comma list")
    p.add_argument("--math", type=maths, default=("fp32",), help=f"a comma list of {', '.join(MATHS)}")
    p.add_argument("--rounds", type=int, default=9)
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--output", help="write OUTPUT.md and OUTPUT.json")
    args = p.parse_args()
    results = []
    for row in chosen(args.rows):
        for result in measure(row, args):
            print_progress(result)
            results.append(result)
        if args.output:  # after every row: an interrupted run keeps what it has
            pathlib.Path(f"{args.output}.md").write_text(markdown(results, args))
            pathlib.Path(f"{args.output}.json").write_text(json.dumps(results, indent=1) + "\n")
    print()
    print(markdown(results, args))


if __name__ == "__main__":
    main()
