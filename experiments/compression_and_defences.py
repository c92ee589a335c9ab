#!/usr/bin/env python3
"""What does each compression and each defence do to one network: accuracy, bytes, and whether its robustness is real?

Usage: experiments/compression_and_defences.py HASHGRAD_BINARY OUTPUT_FOLDER [--data mnist] [--first 100] [--threat linf:0.2]

Trains LeNet5, applies each method by itself, and asks `hashgrad report` about the result. Models and reports are kept in
OUTPUT_FOLDER/models: an interrupted study goes on where it stopped. Ends by writing OUTPUT_FOLDER/README.md, with the words of
OUTPUT_FOLDER/notes.md in it, if there are any: their first paragraph opens the page, the others stand behind the table.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

TRAIN = "--batch 128 --optimizer sgd:momentum=0.9,nesterov --schedule onecycle:0.2 --seed 1".split()
TUNE = [*TRAIN, "--lr", "0.02", "--epochs", "1"]
BASE = "LeNet5"
BASE_TRAINING = [*TRAIN, "--lr", "0.05", "--epochs", "3"]
CLASSIFIER = "hash classifier, 2 epochs"
# Name, and the command that makes it from the base's file.
METHODS = {
    "pruned to 10 %, 1 epoch": ["compress", "prune", "--density", "0.1", *TUNE],
    "dynamic surgery to 10 %, 1 epoch": ["compress", "dns", "--density", "0.1", *TUNE],
    "16 values per layer (4 bits)": ["compress", "kmeans", "--bits", "4"],
    "fixed point 8/2": ["compress", "fixed-point", "--width", "8", "--point", "2"],
    "fixed point 4/1, 1 epoch": ["compress", "fixed-point", "--width", "4", "--point", "1", *TUNE],
    "hashed 1/8, 6 epochs": ["compress", "hash", "--rate", "1/8", "--hashed-lr", "0.3", *TRAIN, "--lr", "0.02", "--epochs", "6"],
    CLASSIFIER: ["defend", "hash-classifier", *TRAIN, "--lr", "0.02", "--epochs", "2"],
    "hash classifier and GI1 0.1": ["defend", "gi1", "--eps", "0.1", "--layers", "last:2"],
    "GI1 0.1, all fc layers": ["defend", "gi1", "--eps", "0.1", "--layers", "last:2"],
    "GI2 3, all fc layers": ["defend", "gi2", "--eps", "3", "--layers", "last:2"],
    "GI3 0.2, drawn at every answer": ["defend", "gi3", "--eps", "0.2", "--layers", "last:2", "--seed", "1"],
    "logits augmentation 20": ["defend", "logits-augmentation", "--eps", "20"],
    "defensive dropout 0.3": ["defend", "dropout", "--rate", "0.3", "--layers", "last:2"],
    "bit depth 1": ["defend", "bit-depth", "--bits", "1"],
    "median 2x2": ["defend", "median", "--size", "2"],
    "JPEG 75": ["defend", "jpeg", "--quality", "75"],
    "feature distillation": ["defend", "feature-distillation"],
    "distilled at T = 100, 1 epoch each": ["defend", "distill", *TRAIN, "--lr", "0.05", "--epochs", "1"],
    "PGD training (10 steps), 2 epochs": ["defend", "adversarial-training", "--method", "pgd", "--eps", "0.2", "--step", "0.05",
                                          "--iters", "10", "--watch", "0", *TRAIN, "--lr", "0.02", "--epochs", "2"],
    "free training, 8 replays of 3 epochs": ["defend", "adversarial-training", "--method", "free", "--eps", "0.2", "--watch", "0",
                                             *TRAIN, "--lr", "0.02", "--epochs", "24"],
}
TRANSFORMS = ("bit-depth", "median", "jpeg", "feature-distillation")  # attacks differentiate past them
# What is not made from the base.
MADE_FROM = {"hash classifier and GI1 0.1": CLASSIFIER}


def left_behind(words):
    """The flags with which a command goes on that was interrupted before."""
    if "--output" not in words:
        return []
    output = pathlib.Path(words[words.index("--output") + 1])
    if words[0] == "report":
        return ["--resume"] * (output / "checkpoint").exists()
    checkpoints = [*output.parent.glob(f"{output.name}*.checkpoint")]
    return ["--resume", str(checkpoints[0])] if checkpoints else []


def run(binary, *words):
    words = [*map(str, words)]
    subprocess.run([binary, *words, *left_behind(words)], check=True, stdout=subprocess.DEVNULL)


def file_of(work, name):
    return work / f"{[BASE, *METHODS].index(name):02}.safetensors"


def make(options, work, name):
    """The model of one row, made if it is not there."""
    path = file_of(work, name)
    if path.exists():
        return path
    data = ["--data", options.data]
    if name == BASE:
        run(options.binary, "train", "lenet5", *data, *BASE_TRAINING, "--quiet", "--output", path)
    else:
        verb, method, *flags = METHODS[name]
        trains = data if "--epochs" in flags else []
        run(options.binary, verb, method, file_of(work, MADE_FROM.get(name, BASE)), *flags, *trains, "--quiet", "--output", path)
    return path


def measure(options, work, name, number):
    """{accuracy, bytes, report, distance} of one row, measured if it is not there."""
    path, asked = work / f"{number:02}.json", [options.data, options.first, options.threat]
    if not path.exists():
        model, folder, result = make(options, work, name), work / f"{number:02}-report", work / "evaluate.json"
        run(options.binary, "evaluate", model, "--data", options.data, "--quiet", "--json", result)
        run(options.binary, "report", model, "--data", options.data, "--first", options.first, "--threat", options.threat,
            "--seed", 1, "--quiet", "--output", folder)
        report = json.loads((folder / "report.json").read_text())
        past = ["--bpda"] if METHODS.get(name, ["", ""])[1] in TRANSFORMS else []
        distance = work / "deepfool.json"
        run(options.binary, "attack", "deepfool", model, "--data", options.data, "--first", options.first, *past, "--seed", 1,
            "--quiet", "--json", distance, "--output", work / "deepfool.safetensors")
        path.write_text(json.dumps({"name": name, "asked": asked, "accuracy": json.loads(result.read_text())["accuracy"],
                                    "bytes": os.path.getsize(model), "report": report,
                                    "distance": json.loads(distance.read_text())["median_of_successes"]["l2"]}, indent=1))
        print(f"{name}: {report['reason']}", flush=True)
    known = json.loads(path.read_text())
    if known["name"] != name or known["asked"] != asked:
        sys.exit(f"{path}: holds '{known['name']}' on {known['asked']}, not '{name}' on {asked}; use another folder")
    return known


def success_of(report, attack):
    rows = report["tables"]["ensemble"]["rows"]
    return next(row["success, percent [95 % interval]"] for row in rows if row["attack"].startswith(attack))


def table(results):
    lines = ["| network | accuracy, % of 10,000 | file, bytes | bim finds, % | robust against everything tried, % | DeepFool's l2 | verdict |",
             "|---|---|---|---|---|---|---|"]
    for r in results:
        report = r["report"]
        flags = [i for i, c in report["checks"].items() if c["verdict"] == report["verdict"] and report["verdict"] != "passed"]
        lines.append(f"| {r['name']} | {100 * r['accuracy']:.2f} | {r['bytes']:,} | {success_of(report, 'bim:')} | "
                     f"{report['tables']['accuracy']['rows'][1]['accuracy [95 % interval]']} | {r['distance']:.2f} | {report['verdict']}{': ' if flags else ''}{' '.join(flags)} |")
    return lines


def notes(options):
    """The page's opening, and what stands behind its table."""
    path = options.output / "notes.md"
    opening, _, rest = path.read_text().partition("\n\n") if path.exists() else ("", "", "")
    return [[text] if text else [] for text in (opening + "\n" if opening else "", rest)]


def page(options, results):
    opening, rest = notes(options)
    commands = [f"    hashgrad train lenet5 --data {options.data} {' '.join(BASE_TRAINING)}"]
    commands += [f"    hashgrad {c[0]} {c[1]} {'CLASSIFIER' if n in MADE_FROM else 'MODEL'} {' '.join(c[2:])}" for n, c in METHODS.items()]
    return "\n".join([
        "# Compression and defences, one by one", "", *opening,
        f"`experiments/compression_and_defences.py build/hashgrad {options.output} --data {options.data} --first {options.first} "
        f"--threat {options.threat}`", "",
        f"LeNet5 on {options.data}, seed 1, one run of each; reports on the first {options.first} test images within {options.threat}. `bim` is what "
        "papers report: 20 steps on the cross-entropy, success in percent of the images that were right. Robust: right, and broken "
        "by nothing in the report, worst case per image, of all images. DeepFool's l2: median distance of what it finds without a budget. "
        "Brackets: 95 % Wilson intervals. The accuracy of a randomised "
        "network is the majority's of 20 draws. `masked` means that the attacks of the literature fail for another reason than "
        "robustness; the checks that say so are named ([what they ask](../../../docs/attacks.md#is-the-number-to-be-believed)).", "",
        *table(results), "", *rest, "Made by:", "", *commands, ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--first", type=int, default=100)
    parser.add_argument("--threat", default="linf:0.2")
    options = parser.parse_args()
    work = options.output / "models"
    work.mkdir(parents=True, exist_ok=True)
    results = []
    for number, name in enumerate([BASE, *METHODS]):
        results.append(measure(options, work, name, number))
        (options.output / "README.md").write_text(page(options, results))


if __name__ == "__main__":
    main()
