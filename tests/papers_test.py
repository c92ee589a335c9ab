#!/usr/bin/env python3
"""Runs a paper's program at --scale smoke: everything is measured, a second run measures nothing, a damaged cell is named.

usage: tests/papers_test.py BINARY
"""
import csv
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile


def run(binary, folder, *flags):
    return subprocess.run([binary, "--scale", "smoke", "--all", "--output", folder, *flags], capture_output=True, text=True)


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


if __name__ == "__main__":
    main()
