#!/usr/bin/env python3
"""Runs a paper's program at --scale smoke: everything is measured, a second run measures nothing, a damaged cell is named.
Programs with a half on CIFAR-10 run that, too, on coloured noise.

usage: tests/papers_test.py BINARY [short] [FLAG ...]
short leaves out the half on CIFAR-10; flags go to the program, such as --data cifar10.
"""
import csv
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile


ON_CIFAR10 = ("wang2018", "zhao2019")
SHORT = "short" in sys.argv[2:]
FLAGS = [flag for flag in sys.argv[2:] if flag != "short"]


def run(binary, folder, *flags):
    command = [binary, "--scale", "smoke", "--all", "--output", folder, *FLAGS, *flags]
    return subprocess.run(command, capture_output=True, text=True)


def expect(condition, message):
    if not condition:
        sys.exit(f"papers_test: {message}")


def check_results(folder):
    """Tables without gaps, shares within their intervals and those within [0, 100]."""
    page = (folder / "results.md").read_text()
    expect("not run" not in page and "Not judged" not in page, "a cell is missing from the full run")
    results = json.loads((folder / "results.json").read_text())
    expect(results["findings"], "no findings")
    intervals = 0
    for name in results["tables"]:
        with open(folder / f"{name}.csv", newline="") as file:
            for cell in (cell for row in csv.reader(file) for cell in row):
                match = re.fullmatch(r"([\d.]+) \[([\d.]+), ([\d.]+)\]", cell)
                if match:
                    share, low, high = map(float, match.groups())
                    expect(0 <= low <= share + 0.06 and share - 0.06 <= high <= 100, f"{name}: {cell}")
                    intervals += 1
    expect(intervals > 20, f"only {intervals} shares in all tables")


def write_colours(folder):
    """CIFAR-10's binary files, 600 and 40 images: each class a colour of its own under noise."""
    draw = random.Random(0)
    folder.mkdir(parents=True)
    for name, images in [(f"data_batch_{i}.bin", 120) for i in range(1, 6)] + [("test_batch.bin", 40)]:
        with open(folder / name, "wb") as file:
            for label in (i % 10 for i in range(images)):
                file.write(bytes([label]))
                for level in (20 * label, 180 - 20 * label, 60 * (label % 4)):
                    file.write(bytes(level + (noise >> 2) for noise in draw.randbytes(32 * 32)))


def check_cifar10(binary, work):
    """All of the other half, from the flag alone."""
    write_colours(work / "data" / "cifar10")
    done = run(binary, work / "cifar10", "--quiet", "--data", "cifar10", "--data-dir", work / "data")
    expect(done.returncode == 0, done.stderr)
    check_results(work / "cifar10")
    origin = json.loads((work / "cifar10" / "results.json").read_text())["origin"]
    expect(origin["data"] == "cifar10, test split" and origin["network"].startswith("3x32x32 "), origin)
    wrong = run(binary, work / "wrong", "--network", "1x28x28 flatten fc10", "--data", "cifar10", "--data-dir", work / "data")
    expect(wrong.returncode == 1 and "cifar10: images are" in wrong.stderr, wrong.stderr)


def main():
    binary = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as work:
        folder = pathlib.Path(work) / "smoke"
        empty = run(binary, pathlib.Path(work) / "empty", "--collect", "--quiet")
        expect(empty.returncode == 0 and "not run" in empty.stdout, empty.stderr)
        first = run(binary, folder, "--quiet")
        expect(first.returncode == 0, first.stderr)
        check_results(folder)
        expect(not list((folder / "models").glob("*.checkpoint*")), "a checkpoint is left")
        again = run(binary, folder)
        expect(" 0 to measure here" in again.stderr + again.stdout, f"the second run measures again: {again.stdout[:200]}")
        expect(again.stdout.endswith(first.stdout), "the second run shows other numbers")
        cell = sorted((folder / "cells").iterdir())[0]
        cell.write_text(cell.read_text()[:40])
        torn = run(binary, folder, "--quiet")
        expect(torn.returncode == 1 and torn.stderr.count("\n") == 1 and str(cell) in torn.stderr, torn.stderr)
        nothing = subprocess.run([binary, "--output", folder], capture_output=True, text=True)
        expect(nothing.returncode == 2 and "nothing was asked for" in nothing.stderr, nothing.stderr)
        if os.path.basename(binary) in ON_CIFAR10 and not SHORT:
            check_cifar10(binary, pathlib.Path(work))


if __name__ == "__main__":
    main()
