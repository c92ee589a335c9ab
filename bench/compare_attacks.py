#!/usr/bin/env python3
"""Hashgrad's attacks beside those of Foolbox, ART, torchattacks and AdverTorch: the same weights, images, settings and
numbers of iterations, in one run on the CPU.

Every side runs in a process of its own that stays up (one warm-up call each; ours is bench_attacks); rounds alternate between
all sides, and a time is the median of the rounds: until the images are there and it is known of each whether it fools the
network. What takes less than a fifth of a second is repeated for as long, behind a call that wakes threads and caches. Our time holds a forward pass to verify; the libraries' images get one such pass.
A success is one in each side's own arithmetic; beside it what is left of all images in float64. Distances are medians of
the successes. Forwards and backwards are counted where they happen: images through the model, and images
whose gradient comes back, per image attacked (a library that leaves images in the batch goes on paying for them).

  python3 -m venv --system-site-packages VENV
  VENV/bin/pip install torch torchvision foolbox==3.3.3 torchattacks==3.5.1 advertorch==0.2.3 adversarial-robustness-toolbox packaging
  VENV/bin/python bench/compare_attacks.py [--data-dir DIR] [--rows fgsm/a2,cw-l2/mlp] [--rounds 5] [--models FOLDER]
                                           [--output experiments/results/compare_attacks]

Networks that FOLDER does not hold are trained there for an epoch of MNIST. Rows that OUTPUT.json holds already and that are
not asked for again stay. "Busy" is how many cores other processes kept busy while a row was measured.
"""
import argparse
import gzip
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench" / "parity"))

from busy import Busy
LIBRARIES = ["foolbox", "art", "torchattacks", "advertorch"]
NETS = {"a2": "liu2018-mnist", "b2": "liu2021-mnist", "mlp": "1x28x28 flatten fc1000 relu fc10"}
BATCH = 128
SHORT = 0.2  # seconds

# Per attack: what it is run with, on how many images, our command, and the ratio aimed at.
ATTACKS = {
    "fgsm": dict(images=512, norm="linf", goal=1.2, eps=0.2, ours="fgsm --eps 0.2"),
    "pgd": dict(images=128, norm="linf", goal=1.2, eps=0.2, step=0.01, iters=40,
                ours="pgd --eps 0.2 --step 0.01 --iters 40 --no-early-stop"),
    "pgd-stop": dict(images=128, norm="linf", goal=1.2, eps=0.2, step=0.01, iters=40, ours="pgd --eps 0.2 --step 0.01 --iters 40"),
    "cw-l2": dict(images=128, norm="l2", goal=2, iters=100, c=10, lr=0.05,
                  ours="cw-l2 --c0 10 --c-steps 1 --iters 100 --lr 0.05 --abort-early no"),
    "ead": dict(images=128, norm="l1", goal=2, iters=100, c=10, lr=0.05, beta=0.01,
                ours="ead --c0 10 --c-steps 1 --iters 100 --lr 0.05 --beta 0.01"),
    "deepfool": dict(images=128, norm="l2", goal=3, iters=50, overshoot=0.02, ours="deepfool --iters 50 --overshoot 0.02"),
    "jsma": dict(images=10, norm="l0", goal=50, gamma=0.1, targeted=True, ours="jsma --theta 1 --gamma 0.1 --target next"),
    "zoo": dict(images=4, norm="l2", goal=10, iters=30, c=1, lr=0.01,
                ours="zoo --rule adam --c0 1 --c-steps 1 --iters 30 --coordinates 128 --lr 0.01 --h 1e-4"),
}
ROWS = [f"{attack}/{net}" for attack in ATTACKS for net in NETS]


# ------------------------------------------------------------------------------------------ the libraries' side


def foolbox_attack(name, s, model, x, y, targets):
    import foolbox
    net = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    a, goal = foolbox.attacks, foolbox.criteria.Misclassification(y)
    attack = {
        "fgsm": lambda: a.LinfFastGradientAttack(),
        "pgd": lambda: a.LinfPGD(abs_stepsize=s["step"], steps=s["iters"]),
        "cw-l2": lambda: a.L2CarliniWagnerAttack(binary_search_steps=1, steps=s["iters"], stepsize=s["lr"],
                                                 initial_const=s["c"], abort_early=False),
        "ead": lambda: a.EADAttack(binary_search_steps=1, steps=s["iters"], initial_stepsize=s["lr"], initial_const=s["c"],
                                   regularization=s["beta"], decision_rule="EN", abort_early=False),
        "deepfool": lambda: a.L2DeepFoolAttack(steps=s["iters"], candidates=10, overshoot=s["overshoot"], loss="logits"),
    }[name]()
    return attack.run(net, x, goal, **({"epsilon": s["eps"]} if "eps" in s else {}))


def art_attack(name, s, model, x, y, targets):
    import numpy as np
    import torch
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier
    net = PyTorchClassifier(model=model, clip_values=(0, 1), loss=torch.nn.CrossEntropyLoss(), input_shape=tuple(x.shape[1:]),
                            nb_classes=10, device_type="cpu")
    common = dict(batch_size=BATCH)
    if "iters" in s:
        common.update(max_iter=s["iters"], verbose=False)
    search = dict(binary_search_steps=1, initial_const=s.get("c"), learning_rate=s.get("lr"), **common)
    attack = {
        "fgsm": lambda: evasion.FastGradientMethod(net, eps=s["eps"], **common),
        "pgd": lambda: evasion.ProjectedGradientDescent(net, eps=s["eps"], eps_step=s["step"], num_random_init=1, **common),
        "cw-l2": lambda: evasion.CarliniL2Method(net, **search),
        "ead": lambda: evasion.ElasticNet(net, beta=s["beta"], decision_rule="EN", **search),
        "deepfool": lambda: evasion.DeepFool(net, epsilon=s["overshoot"], nb_grads=10, **common),
        "jsma": lambda: evasion.SaliencyMapMethod(net, theta=1, gamma=s["gamma"], verbose=False, **common),
        "zoo": lambda: evasion.ZooAttack(net, use_resize=False, use_importance=False, nb_parallel=128, variable_h=1e-4,
                                         abort_early=False, **{**search, "batch_size": 1}),
    }[name]()
    labels = targets if s.get("targeted") else y
    return torch.tensor(attack.generate(x.numpy(), np.eye(10, dtype=np.float32)[labels.numpy()]))


def torchattacks_attack(name, s, model, x, y, targets):
    import torchattacks as t
    attack = {
        "fgsm": lambda: t.FGSM(model, eps=s["eps"]),
        "pgd": lambda: t.PGD(model, eps=s["eps"], alpha=s["step"], steps=s["iters"]),
        "cw-l2": lambda: t.CW(model, c=s["c"], steps=s["iters"], lr=s["lr"]),
        "ead": lambda: t.EADEN(model, lr=s["lr"], max_iterations=s["iters"], binary_search_steps=1, initial_const=s["c"],
                               beta=s["beta"], abort_early=False),
        "deepfool": lambda: t.DeepFool(model, steps=s["iters"], overshoot=s["overshoot"]),
        "jsma": lambda: t.JSMA(model, theta=1, gamma=s["gamma"]),
    }[name]()
    if s.get("targeted"):
        attack.set_mode_targeted_by_label(quiet=True)
    return attack(x, targets if s.get("targeted") else y)


def advertorch_attack(name, s, model, x, y, targets):
    import torch.autograd.gradcheck  # noqa: F401
    sys.modules["torch.autograd.gradcheck"].zero_gradients = None  # gone from torch; its FAB imports it
    from advertorch import attacks as a
    search = dict(binary_search_steps=1, max_iterations=s.get("iters"), initial_const=s.get("c"), learning_rate=s.get("lr"),
                  abort_early=False)
    attack = {
        "fgsm": lambda: a.GradientSignAttack(model, eps=s["eps"]),
        "pgd": lambda: a.LinfPGDAttack(model, eps=s["eps"], eps_iter=s["step"], nb_iter=s["iters"]),
        "cw-l2": lambda: a.CarliniWagnerL2Attack(model, 10, **search),
        "ead": lambda: a.ElasticNetL1Attack(model, 10, beta=s["beta"], decision_rule="EN", **search),
        "jsma": lambda: a.JacobianSaliencyMapAttack(model, 10, theta=1, gamma=s["gamma"]),
    }[name]()
    return attack.perturb(x, targets if s.get("targeted") else y)


def counted(model):
    """The model, and the images that have gone through it forwards and backwards."""
    count = {"forwards": 0, "backwards": 0}

    def backward(gradient):
        count["backwards"] += len(gradient)

    def forward(_, __, logits):
        count["forwards"] += len(logits)
        if logits.requires_grad:
            logits.register_hook(backward)

    model[-1].register_forward_hook(forward)  # ART calls the layers one by one
    return count


def measure(library, task):
    import torch
    from common import read_safetensors, torch_model
    torch.manual_seed(1)
    tensors, _ = read_safetensors(task["images"])
    x, y = torch.tensor(tensors["x"]), torch.tensor(tensors["y"])
    model = torch_model(task["model"])
    count = counted(model)
    attack = globals()[f"{library}_attack"]
    settings = ATTACKS[task["attack"]]
    name = task["attack"].removesuffix("-stop")
    if task["warm"]:
        few = dict(settings, iters=2) if "iters" in settings else settings
        attack(name, few, model, x[:2], y[:2], (y[:2] + 1) % 10)

    def call():
        count.update(forwards=0, backwards=0)
        parts, successes = [], []
        for begin in range(0, len(x), BATCH):
            part = slice(begin, begin + BATCH)
            parts.append(attack(name, settings, model, x[part].clone(), y[part], (y[part] + 1) % 10).detach())
            with torch.no_grad():
                successes.append(reached(model, parts[-1], y[part], settings))
        return torch.cat(parts), torch.cat(successes)

    seconds, (x_adv, success) = warm_seconds(call)
    return {"seconds": seconds, **{k: v / len(x) for k, v in count.items()}, **judged(task["model"], x, y, x_adv, success, settings)}


def warm_seconds(call):
    """Seconds of a call, and its result; as in bench/attacks.cpp."""
    start = time.perf_counter()
    result = call()
    first = time.perf_counter() - start
    if first >= SHORT:
        return first, result
    calls, start = int(SHORT / first) + 1, time.perf_counter()
    for _ in range(calls):
        result = call()
    return (time.perf_counter() - start) / calls, result


def reached(model, x_adv, y, settings):
    seen = model(x_adv).argmax(1)
    return seen == (y + 1) % 10 if settings.get("targeted") else seen != y


def judged(path, x, y, x_adv, success, settings):
    """Of what one side made and what it calls a success."""
    import torch
    from common import torch_model
    order = {"l0": 0, "l1": 1, "l2": 2, "linf": float("inf")}[settings["norm"]]
    far = (x_adv - x).flatten(1).double().norm(p=order, dim=1)[success]
    with torch.no_grad():
        exact = reached(torch_model(path).double(), x_adv.double(), y, settings)
    return {"success": success.double().mean().item(), "float64": exact.double().mean().item(),
            "distance": far.median().item() if len(far) else None}


def work(library):
    """Answers one line of JSON for each on stdin."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes elsewhere
    for line in sys.stdin:
        try:
            answer = measure(library, json.loads(line))
        except KeyError as missing:
            answer = {"absent": str(missing)}
        except Exception as error:  # a library's fault is a result, not the end of the run
            answer = {"error": f"{type(error).__name__}: {error}"[:200]}
        print(json.dumps(answer), file=out, flush=True)


# ---------------------------------------------------------------------------------------------------- our side


class Ours:
    """bench_attacks, which stays up for one row; what the images achieve is read off `hashgrad attack`, once."""

    def __init__(self, folder, task, threads):
        name, *flags = ATTACKS[task["attack"]]["ours"].split()
        settings, rule = [], ""
        while flags:
            flag = flags.pop(0).removeprefix("--")
            value = flags.pop(0) if flags and not flags[0].startswith("--") else None
            if flag == "target":
                rule = value
            else:
                settings.append(flag if value is None else f"{flag}={value}")
        self.line = f"{name}:{','.join(settings)} {rule}\n"
        self.process = subprocess.Popen([str(folder / "bench_attacks"), task["model"], task["images"], str(BATCH), str(threads)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer = outcome(str(folder / "hashgrad"), task, threads)
        self.seconds()  # warm-up

    def seconds(self):
        self.process.stdin.write(self.line)
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def ask(self):
        return dict(self.answer, seconds=self.seconds())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def outcome(binary, task, threads):
    import torch
    from common import read_safetensors
    with tempfile.TemporaryDirectory() as folder:
        result, numbers = os.path.join(folder, "adv"), os.path.join(folder, "json")
        name, *flags = ATTACKS[task["attack"]]["ours"].split()
        subprocess.run([binary, "attack", name, task["model"], "--input", task["images"], *flags, "--batch", str(BATCH), "--seed", "1",
                        "--threads", str(threads), "--device", "cpu", "--quiet", "--output", result, "--json", numbers],
                       check=True, stdout=subprocess.DEVNULL)
        tensors, _ = read_safetensors(result)
        said = json.loads(pathlib.Path(numbers).read_text())
    x, y, x_adv, success = (torch.tensor(tensors[n]) for n in ("x", "y", "x_adv", "success"))
    return {"forwards": said["forwards"] / len(x), "backwards": said["backwards"] / len(x),
            **judged(task["model"], x, y, x_adv, success == 1, ATTACKS[task["attack"]])}


def write_images(path, model, folder, count):
    """The first `count` MNIST test images that the model gets right, as x and y."""
    import numpy as np
    import torch
    from common import torch_model, write_safetensors
    raw = {}
    for name, skip in (("images-idx3", 16), ("labels-idx1", 8)):
        with gzip.open(os.path.join(folder, "mnist", f"t10k-{name}-ubyte.gz")) as file:
            raw[name[:6]] = np.frombuffer(file.read(), np.uint8, offset=skip)
    x = raw["images"].reshape(-1, 1, 28, 28)[:2000].astype(np.float32) / np.float32(255)
    y = raw["labels"][:2000].astype(np.int64)
    with torch.no_grad():
        right = (torch_model(model)(torch.tensor(x)).argmax(1).numpy() == y).nonzero()[0][:count]
    write_safetensors(path, {"x": x[right], "y": y[right]})


def trained(binary, folder, net, data_dir):
    path = folder / f"{net}.safetensors"
    if not path.exists():
        subprocess.run([binary, "train", NETS[net], "--data", "mnist", "--data-dir", data_dir, "--batch", "128", "--optimizer",
                        "sgd:momentum=0.9,nesterov", "--lr", "0.05", "--schedule", "onecycle:0.2", "--epochs", "1", "--seed", "1",
                        "--quiet", "--output", str(path)], check=True)
    return str(path)


class Peer:
    def __init__(self, library, threads):
        env = dict(os.environ, OMP_NUM_THREADS=str(threads))
        self.name = library
        self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--worker", library], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)

    def ask(self, task):
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": "the process ended"}


def compare(row, peers, folder, task, rounds, threads):
    """{side: medians of the rounds}; a side without this attack is left out, one that fails says how. And how many cores
    other processes kept busy meanwhile."""
    sides, times, us = {}, {}, Ours(folder, task, threads)
    busy = Busy([us.process.pid, *(p.process.pid for p in peers)])
    for number in range(rounds):
        task = dict(task, warm=number == 0)
        for side in ["hashgrad", *(p.name for p in peers)]:
            if "error" in sides.get(side, {}) or "absent" in sides.get(side, {}):
                continue
            time.sleep(0.1)  # waiting threads of the side before go to sleep
            answer = us.ask() if side == "hashgrad" else next(p for p in peers if p.name == side).ask(task)
            sides[side] = answer
            if "seconds" in answer:
                times.setdefault(side, []).append(answer["seconds"])
                print(f"  {row} {side}: {answer['seconds']:.3f} s", file=sys.stderr)
            elif "error" in answer:
                print(f"  {row} {side}: {answer['error']}", file=sys.stderr)
    cores = round(busy.cores(), 3)
    us.close()
    for side, seconds in times.items():
        sides[side]["seconds"], sides[side]["spread"] = statistics.median(seconds), [min(seconds), max(seconds)]
    return {side: answer for side, answer in sides.items() if "absent" not in answer}, cores


def table(results):
    lines = ["| attack, net, images | side | seconds | ratio | success, % | the same in float64, % | median distance | forwards | backwards |",
             "|---|---|---|---|---|---|---|---|---|"]
    for row, result in results["rows"].items():
        attack, net = row.split("/")
        base = result["sides"]["hashgrad"]["seconds"]
        for side, s in sorted(result["sides"].items(), key=lambda item: (item[0] != "hashgrad", item[1].get("seconds", 9e9))):
            title = f"{attack}, {net}, {ATTACKS[attack]['images']}" if side == "hashgrad" else ""
            if "error" in s:
                lines.append(f"| {title} | {side} | {s['error'].replace('|', '/')} | | | | | | |")
                continue
            ratio = f"{s['seconds'] / base:.2f}" if side != "hashgrad" else ""
            distance = "" if s["distance"] is None else f"{s['distance']:.3f} {ATTACKS[attack]['norm']}"
            lines.append(f"| {title} | {side} | {s['seconds']:.3f} | {ratio} | {100 * s['success']:.1f} | {100 * s['float64']:.1f} | {distance} | "
                         f"{s['forwards']:.1f} | {s['backwards']:.1f} |")
    return "\n".join(lines)


def page(results):
    goals = ["| row | goal | fastest library | reached | rounds | busy |", "|---|---|---|---|---|---|"]
    for row, result in results["rows"].items():
        others = {k: v["seconds"] for k, v in result["sides"].items() if k != "hashgrad" and "seconds" in v}
        if not others:
            continue
        fastest = min(others, key=others.get)
        ratio = others[fastest] / result["sides"]["hashgrad"]["seconds"]
        goal = ATTACKS[row.split("/")[0]]["goal"]
        goals.append(f"| {row} | {goal}x | {fastest} | {ratio:.2f}x{'' if ratio >= goal else ', below the goal'} | {result['rounds']} | {result['busy_cores']:.2f} |")
    missing = [row for row in ROWS if row not in results["rows"]]
    if missing:
        goals += ["", f"Not measured: {', '.join(missing)}."]
    settings = "\n".join(f"    {name}: hashgrad attack {s['ours']}" for name, s in ATTACKS.items())
    return f"""# Attacks beside Foolbox, ART, torchattacks and AdverTorch

`bench/compare_attacks.py`, medians; {results['machine']}, {results['threads']} threads, batch {BATCH};
{results['versions']}. Ratio: seconds of that side over ours.

{chr(10).join(goals)}

{table(results)}

Images: the first of the MNIST test set that the network gets right. `pgd` takes all its steps, as the libraries do;
in `pgd-stop` a finished image leaves. Untargeted, except jsma (next class). Names agree, rules do not everywhere: ART's
cw-l2 is a line search, its jsma looks at the target's gradient alone, torchattacks' cw-l2 has one constant and stops
when the batch's loss rises, and of ZOO only ART has a version. Rows come from several runs: a library that a row does not
name lacks the attack, or was left out of that run by `--libraries`. Busy: cores that other processes kept busy meanwhile. Ours:

{settings}
"""


def earlier(file, here):
    """The rows measured by earlier runs `here`: on the same machine, with the same threads and libraries."""
    before = json.loads(file.read_text()) if file.exists() else {}
    return before["rows"] if all(before.get(key) == value for key, value in here.items()) else {}


def versions():
    names = ("torch", "foolbox", "adversarial-robustness-toolbox", "torchattacks", "advertorch")
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", choices=LIBRARIES, help=argparse.SUPPRESS)
    parser.add_argument("--build", default=str(ROOT / "build"), help="folder that holds hashgrad and bench_attacks")
    parser.add_argument("--data-dir", default=os.environ.get("HASHGRAD_DATA", os.path.expanduser("~/.cache/hashgrad/data")))
    parser.add_argument("--models", default="compare_attacks_models")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--libraries", default=",".join(LIBRARIES), help="those to compare with")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--output", default="compare_attacks", help="writes OUTPUT.md and OUTPUT.json")
    args = parser.parse_args()
    if args.worker:
        return work(args.worker)
    if set(args.libraries.split(",")) - set(LIBRARIES):
        parser.error(f"--libraries: a list of {', '.join(LIBRARIES)} is accepted")
    unknown = [row for row in args.rows.split(",") if row not in ROWS]
    if unknown:
        parser.error(f"--rows: {', '.join(unknown)}: none of {', '.join(ROWS)}")
    folder, build = pathlib.Path(args.models), pathlib.Path(args.build)
    folder.mkdir(parents=True, exist_ok=True)
    here = {"machine": machine(), "threads": args.threads, "versions": versions()}
    results = {**here, "rows": earlier(pathlib.Path(args.output + ".json"), here)}
    peers = [Peer(library, args.threads) for library in args.libraries.split(",")]
    for row in args.rows.split(","):
        attack, net = row.split("/")
        model = trained(str(build / "hashgrad"), folder, net, args.data_dir)
        images = str(folder / f"{net}-{ATTACKS[attack]['images']}-images.safetensors")
        write_images(images, model, args.data_dir, ATTACKS[attack]["images"])
        task = {"attack": attack, "model": model, "images": images}
        sides, busy = compare(row, peers, build, task, args.rounds, args.threads)
        results["rows"][row] = {"sides": sides, "rounds": args.rounds, "busy_cores": busy}
        results["rows"] = {r: results["rows"][r] for r in ROWS if r in results["rows"]}
        pathlib.Path(args.output + ".json").write_text(json.dumps(results, indent=1) + "\n")
        pathlib.Path(args.output + ".md").write_text(page(results))
    print(page(results))


def machine():
    with open("/proc/cpuinfo") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
