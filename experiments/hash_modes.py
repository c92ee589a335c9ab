#!/usr/bin/env python3
"""Does where a hash puts its weights cost accuracy? Trains the same hashed network under each mode, rate and seed.

Usage: experiments/hash_modes.py HASHGRAD_BINARY OUTPUT_FOLDER [--data mnist] [--epochs 2]

The seed sets initialisation, order of the samples and hash alike, and is shared by the modes, so that runs pair up.
A finished run is kept in OUTPUT_FOLDER/runs.csv: an interrupted study goes on where it stopped. Ends by writing
OUTPUT_FOLDER/README.md.
"""
import argparse
import csv
import json
import pathlib
import statistics
import subprocess
import tempfile

MODES = ("full", "strat", "window")
RATES = (8, 16, 32, 64)
SEEDS = (1, 2, 3)
SPEC = "1x28x28 flatten fc1024@1/{rate} relu fc10@1/{rate}"  # every K is a multiple of 32
RECIPE = ("--batch 128 --optimizer sgd:momentum=0.9,nesterov --schedule onecycle:0.2 --lr 0.1 --hashed-lr 0.3 "
          "--label-smoothing 0").split()
T_11 = 2.201  # Student's t, 95 % two-sided, 12 pairs


def train(binary, options, mode, rate, seed):
    """Accuracy on the test set, in percent."""
    with tempfile.TemporaryDirectory() as folder:
        model, result = f"{folder}/model.safetensors", f"{folder}/result.json"
        common = ["--data", options.data, "--quiet"]
        subprocess.run([binary, "train", SPEC.format(rate=rate), *common, *RECIPE, "--epochs", str(options.epochs),
                        "--seed", str(seed), "--hash-seed", str(seed), "--hash-mode", mode, "--output", model],
                       check=True, stdout=subprocess.DEVNULL)
        subprocess.run([binary, "evaluate", model, *common, "--json", result], check=True, stdout=subprocess.DEVNULL)
        return 100 * json.load(open(result))["accuracy"]


def table(done):
    lines = ["| rate | " + " | ".join(MODES) + " |", "|---|" + "---|" * len(MODES)]
    for rate in RATES:
        cells = []
        for mode in MODES:
            values = [done[mode, rate, seed] for seed in SEEDS]
            cells.append(f"{statistics.mean(values):.2f} ({', '.join(f'{v:.2f}' for v in values)})")
        lines.append(f"| 1/{rate} | " + " | ".join(cells) + " |")
    return lines


def difference(done, mode):
    """Of accuracies, this mode's minus that of `full`: mean, and half its 95 % interval."""
    pairs = [done[mode, rate, seed] - done["full", rate, seed] for rate in RATES for seed in SEEDS]
    return statistics.mean(pairs), T_11 * statistics.stdev(pairs) / len(pairs) ** 0.5


def answer(done):
    told = [f"`{mode}`" for mode in MODES[1:] for mean, half in [difference(done, mode)] if abs(mean) > half]
    return ("Does where a hash puts its weights cost accuracy? " +
            (f"{' and '.join(told)} differ from `full`." if told else "Not that these runs could tell."))


def write_report(path, options, done):
    text = ["# Accuracy under the hash modes", "", answer(done), "",
            f"`experiments/hash_modes.py build/hashgrad {path.parent} --data {options.data} --epochs {options.epochs}`",
            "", f"`{SPEC.format(rate='R')}`, {options.epochs} epochs, `{' '.join(RECIPE)}`; accuracy in percent on the "
            "10,000 test images of the model as it stands after the last epoch: mean over seeds, and each seed. An "
            "accuracy of 97 % on 10,000 images is known to within 0.3 points; a single difference below that says nothing.", "",
            *table(done), "",
            "Differences over all pairs of the same rate and seed, with the 95 % interval of their mean (t, 12 pairs):",
            "", *(f"* `{mode}` minus `full`: {mean:+.3f} points [{mean - half:+.3f}, {mean + half:+.3f}]"
                  for mode in MODES[1:] for mean, half in [difference(done, mode)]), ""]
    path.write_text("\n".join(text))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    log = options.output / "runs.csv"
    if not log.exists():
        log.write_text("mode,rate,seed,accuracy\n")
    done = {(row["mode"], int(row["rate"]), int(row["seed"])): float(row["accuracy"])
            for row in csv.DictReader(log.open())}
    for rate in RATES:
        for seed in SEEDS:
            for mode in MODES:
                if (mode, rate, seed) in done:
                    continue
                done[mode, rate, seed] = train(options.binary, options, mode, rate, seed)
                with log.open("a") as out:
                    out.write(f"{mode},{rate},{seed},{done[mode, rate, seed]:.2f}\n")
                print(f"{mode} 1/{rate} seed {seed}: {done[mode, rate, seed]:.2f} %", flush=True)
    write_report(options.output / "README.md", options, done)


if __name__ == "__main__":
    main()
