#!/usr/bin/env python3
"""Hashgrad beside PyTorch: time and peak memory of the same work in one run, on the CPU or on a GPU.

Each row runs both sides as separate processes with the same number of threads and alternates between them, so that a
busy moment of the machine meets both. A repetition calls the work as often as fills about a third of a second, after a
pause in which the other side's waiting threads go to sleep; its time is that of one call. PyTorch is measured in NCHW and
in channels_last, and its time is the faster of the two; on a GPU also compiled by torch.compile, as a column of its own.
Both compute in float32 without TF32. On a GPU our training step is one recorded graph, as in `hashgrad train`; so are
torch.compile's forward pass and training step. Memory on the CPU is the peak resident size above what the process held before the
work was set up, on a GPU the peak of what tensors held.

  bench/compare_pytorch.py [--device cpu|cuda] [--python /usr/bin/python3] [--rows a2/forward,hashed8/train]
                           [--rounds 9] [--output experiments/results/compare_pytorch]

Needs: a release build (scripts/build), and for the peer `apt-get install python3-torch`.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
NETS = {
    "a2": "A2 net (conv64 5x5, conv128 5x5, fc512, fc10)",
    "b2": "B2 net (seven layers, 3x3)",
    "resnet18": "ResNet-18 at 32x32 (torchvision's, with a 3x3 stem)",
    "hashed8": "hashed layer 6272 -> 512, rate 1/8",
    "hashed64": "hashed layer 6272 -> 512, rate 1/64",
}
TASKS = {
    "forward": "logits",
    "train": "training step (SGD, momentum)",
    "fgsm": "input gradient and signed step (FGSM)",
    "pgd10": "PGD, 10 steps",
    "jacobian": "Jacobian, 10 classes",
}
# What --rows takes when it is not given; the larger network has the same tasks.
ROWS = [f"{n}/{t}" for n in ("a2", "b2") for t in TASKS] + [f"{n}/{t}" for n in ("hashed8", "hashed64") for t in ("forward", "train")]
# PyTorch has no cache of CPU memory: without these, every large tensor is mapped and page-faulted anew.
PAUSE = 0.05  # seconds before each repetition
REPETITION = 300  # milliseconds, at least one call
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 33), "MALLOC_TRIM_THRESHOLD_": str(1 << 34), "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


# ---------------------------------------------------------------------------------------------- the PyTorch side


def torch_task(net, task, batch, layout, device):
    import torch
    import torch.nn as nn
    import torch.nn.functional as F

    torch.manual_seed(1)
    torch.set_default_device(device) if device != "cpu" else None  # PyTorch 1 has no default device
    if net.startswith("hashed"):
        n_in, n_out, count = 6272, 512, 6272 * 512 // int(net[6:])
        w = torch.randn(count).mul_(0.01).requires_grad_()
        bias = torch.zeros(n_out, requires_grad=True)
        index = torch.randint(count, (n_out, n_in))
        sign = torch.randint(2, (n_out, n_in)).float() * 2 - 1
        x, g = torch.rand(batch, n_in), torch.randn(batch, n_out)

        def forward():
            with torch.no_grad():
                F.linear(x, w[index] * sign, bias)

        def train():
            a = x.detach().requires_grad_()
            torch.autograd.grad(F.linear(a, w[index] * sign, bias), [w, bias, a], g)

        return {"forward": forward, "train": train}[task]

    def conv(i, o, k):
        return [nn.Conv2d(i, o, k, padding=k // 2), nn.ReLU(inplace=True)]

    def fc(i, o):
        return [nn.Linear(i, o), nn.ReLU(inplace=True)]

    pool = [nn.MaxPool2d(2)]
    shape = (1, 28, 28)
    if net == "resnet18":
        import torchvision
        body = torchvision.models.resnet18(num_classes=10)
        body.conv1, body.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
        layers, shape = [body], (3, 32, 32)
    elif net == "a2":
        layers = conv(1, 64, 5) + pool + conv(64, 128, 5) + pool + [nn.Flatten()] + fc(6272, 512) + [nn.Linear(512, 10)]
    else:
        layers = conv(1, 64, 3) + conv(64, 128, 3) + pool + conv(128, 128, 3) + conv(128, 64, 3) + pool
        layers += [nn.Flatten()] + fc(3136, 256) + fc(256, 256) + [nn.Linear(256, 10)]
    model = nn.Sequential(*layers)
    x, y = torch.rand(batch, *shape), torch.randint(10, (batch,))
    if layout == "compiled":
        model = torch.compile(model, mode="reduce-overhead" if task in ("forward", "train") else "default")
    if layout == "channels_last":
        model, x = model.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    if task == "train":
        sgd = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

        def step():
            sgd.zero_grad(set_to_none=True)
            F.cross_entropy(model(x), y).backward()
            sgd.step()

        return step
    model.eval()
    for p in model.parameters():
        p.requires_grad_(False)

    def forward():
        with torch.no_grad():
            model(x)

    def gradient(a):
        a = a.detach().requires_grad_()
        return torch.autograd.grad(F.cross_entropy(model(a), y, reduction="sum"), a)[0]

    def fgsm():
        return (x + 0.1 * gradient(x).sign_()).clamp_(0, 1)

    def pgd10():
        a = x
        for _ in range(10):
            a = a + 0.02 * gradient(a).sign_()
            a = torch.min(torch.max(a, x - 0.1), x + 0.1).clamp_(0, 1)
        return a

    def jacobian():
        a = x.detach().requires_grad_()
        z = model(a)
        return torch.stack([torch.autograd.grad(z[:, k].sum(), a, retain_graph=k < 9)[0] for k in range(10)], 1)

    return {"forward": forward, "fgsm": fgsm, "pgd10": pgd10, "jacobian": jacobian}[task]


def resident(field):
    for line in open("/proc/self/status"):
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return 0.0


def torch_worker(net, task, batch, threads, layout, device):
    """Sets up the work, then answers each line of standard input, a number of calls, with the milliseconds of one call."""
    import torch

    torch.set_num_threads(threads)
    gpu = device == "cuda"
    if gpu:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.rand(64, 64, device=device) @ torch.rand(64, 64, device=device)
    idle = resident("VmRSS")
    step = torch_task(net, task, batch, layout, device)
    print(f"PyTorch {torch.__version__}", flush=True)
    for line in sys.stdin:
        calls = int(line)
        start = time.perf_counter()
        for _ in range(calls):
            step()
        if gpu:
            torch.cuda.synchronize()
        elapsed = (time.perf_counter() - start) * 1e3 / calls
        peak = torch.cuda.max_memory_allocated() / 2**20 if gpu else resident("VmHWM") - idle
        print(f"{elapsed:.5f} {peak:.1f}", flush=True)


# ------------------------------------------------------------------------------------------------- the comparison


class Side:
    def __init__(self, command, threads, extra=()):
        env = dict(os.environ, OMP_NUM_THREADS=str(threads), **dict(extra))
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self.name = self.process.stdout.readline().strip()
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

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def measure(row, args):
    net, task = row.split("/")
    command = [net, task, str(args.batch), str(args.threads)]
    layouts = ["nchw"] if net.startswith("hashed") else ["nchw", "channels_last"]
    if args.device == "cuda" and not net.startswith("hashed"):
        layouts.append("compiled")
    ours = Side([args.build / "bench_nets", *command, args.device], args.threads)
    theirs = [Side([args.python, __file__, "--worker", *command, layout, args.device], args.threads, MALLOC.items())
              for layout in layouts]
    sides = (ours, *theirs)
    for side in sides:
        side.repeat(2)  # warms up
    calls = max(1, round(REPETITION / max(side.repeat(1) for side in sides)))
    for _ in range(args.rounds):
        for side in sides:
            side.times.append(side.repeat(calls))
    for side in sides:
        side.close()
    medians = {layout: statistics.median(side.times) for layout, side in zip(layouts, theirs)}
    best = min((side for layout, side in zip(layouts, theirs) if layout != "compiled"), key=lambda s: statistics.median(s.times))
    mine, peer = statistics.median(ours.times), statistics.median(best.times)
    return {
        "row": row, "net": NETS[net], "task": "forward and all gradients" if row.startswith("hashed") and task == "train" else TASKS[task],
        "compiled_ratio": round(medians["compiled"] / mine, 3) if "compiled" in medians else None,
        "batch": args.batch, "device": args.device, "threads": args.threads, "rounds": args.rounds, "peer": best.name,
        "peer_layout": layouts[theirs.index(best)],
        "hashgrad_ms": round(mine, 3), "pytorch_ms": round(peer, 3), "ratio": round(peer / mine, 3),
        "hashgrad_images_per_s": round(args.batch / mine * 1e3, 1), "pytorch_images_per_s": round(args.batch / peer * 1e3, 1),
        "hashgrad_peak_mib": ours.memory, "pytorch_peak_mib": best.memory,
    }


def processor(device):
    if device == "cuda":
        return subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True).stdout.strip()
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.machine()


def markdown(results, args):
    gpu = args.device == "cuda"
    lines = [
        f"`{' '.join(['bench/compare_pytorch.py', *sys.argv[1:]])}`",
        "",
        f"{processor(args.device)}, {args.threads} threads, batch {args.batch}, median of {args.rounds} alternating repetitions, "
        f"{results[0]['peer']}. Ratio above 1: Hashgrad is faster. Memory: peak above the idle process."
        + (" Hashgrad's training step is one CUDA graph." if gpu else ""),
        "",
        f"| net | work | Hashgrad img/s | PyTorch img/s | ratio |{' to torch.compile |' if gpu else ''} Hashgrad MiB | PyTorch MiB |",
        f"|---|---|---:|---:|---:|{'---:|' if gpu else ''}---:|---:|",
    ]
    for r in results:
        compiled = "" if not gpu else f" {r['compiled_ratio']:.2f} |" if r["compiled_ratio"] else " |"
        lines.append(f"| {r['net']} | {r['task']} | {r['hashgrad_images_per_s']:.0f} | {r['pytorch_images_per_s']:.0f} | "
                     f"**{r['ratio']:.2f}** |{compiled} {r['hashgrad_peak_mib']:.0f} | {r['pytorch_peak_mib']:.0f} |")
    return "\n".join(lines) + "\n"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--python", default="/usr/bin/python3", help="an interpreter that has torch")
    p.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    p.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    p.add_argument("--rows", default=",".join(ROWS))
    p.add_argument("--rounds", type=int, default=9)
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--output", type=pathlib.Path, help="write OUTPUT.md and OUTPUT.json")
    args = p.parse_args()
    results = []
    for row in args.rows.split(","):
        results.append(measure(row, args))
        r = results[-1]
        print(f"{row:18} hashgrad {r['hashgrad_ms']:9.2f} ms   pytorch {r['pytorch_ms']:9.2f} ms ({r['peer_layout']})   "
              f"ratio {r['ratio']:.2f}   MiB {r['hashgrad_peak_mib']:.0f} / {r['pytorch_peak_mib']:.0f}", flush=True)
    print()
    print(markdown(results, args))
    if args.output:
        args.output.with_suffix(".md").write_text(markdown(results, args))
        args.output.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        torch_worker(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), sys.argv[6], sys.argv[7])
    else:
        main()
