#!/usr/bin/env python3
"""Counts the instructions in the loops of kernels, as a Markdown table: what the compiler made of them.

Usage: bench/ladders/sass.py [--arch sm_90a] NAME...      NAME: a ladder (sgemm) or a file (cuda/softmax.cu)

Needs nvcc, and nvdisasm of the same release or a newer one (on the PATH, beside nvcc, or named by NVDISASM). A row is a loop: code
between the target of a backward branch and the branch, as often as it was unrolled, without the loops inside it. Loops
that only copy are left out. A count is of instructions that stand there, not of instructions that a thread executes: some of
a loop may be its way round an edge.
"""
import argparse
import collections
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
FLAGS = "-std=c++20 --expt-relaxed-constexpr -I. -DFMT_USE_CONSTEXPR=1 -DHASHGRAD_WITH_CUDA=1 -DHASHGRAD_WITH_EMULATOR=1".split()
# Column: the opcodes that it counts. An opcode counts in the first column that it matches.
COLUMNS = {
    "FFMA": r"FFMA",
    "HMMA": r"HMMA",
    "MUFU": r"MUFU",
    "LDS.128": r"LDS\.128",
    "LDS": r"LDS",
    "STS": r"STS",
    "LDGSTS": r"LDGSTS",
    "LDG.128": r"LDG\.E\.128",
    "LDG": r"LDG(?!DEPBAR)|LD\.",
    "STG": r"STG|ST\.",
    "SHFL": r"SHFL",
    "IMAD": r"IMAD(?!\.MOV)",
    "LOP3, SHF": r"LOP3|SHF",
    "ATOMS": r"ATOMS",
    "ATOMG, RED": r"ATOMG|ATOM\.|RED\.",
    "BAR": r"BAR",
    "LDL, STL": r"LDL|STL",
}
ARITHMETIC = ("FFMA", "HMMA", "MUFU", "ATOMS", "ATOMG, RED")  # a loop with one of these, or with a hash, does not only copy


def disassembly(source, arch):
    nvcc = shutil.which("nvcc") or sys.exit("nvcc is not on the PATH")
    beside = os.path.join(os.path.dirname(nvcc), "nvdisasm")
    nvdisasm = os.environ.get("NVDISASM") or shutil.which("nvdisasm") or beside
    if not os.path.exists(nvdisasm):
        sys.exit("nvdisasm is not on the PATH, not beside nvcc, and not named by NVDISASM")
    with tempfile.TemporaryDirectory() as folder:
        cubin = os.path.join(folder, "code.cubin")
        subprocess.run([nvcc, *FLAGS, f"-arch={arch}", "-cubin", source, "-o", cubin], check=True, cwd=ROOT)
        return subprocess.run([nvdisasm, "-c", cubin], check=True, capture_output=True, text=True).stdout


def kernels(text):
    """(readable name, lines) of every function."""
    for part in re.split(r"^\.text\.", text, flags=re.M)[1:]:
        name = subprocess.run(["c++filt", part[: part.index(":")]], capture_output=True, text=True).stdout.strip()
        name = re.sub(r"\(anonymous namespace\)::|hashgrad::cuda::(bench::)?", "", name)
        yield re.sub(r"^void ", "", name).split("(")[0], part.splitlines()[1:]


def loops(lines):
    """The opcodes of each loop, without those of the loops inside it."""
    opcodes, labels, back = [], {}, {}
    for line in lines:
        if "WARPSYNC.COLLECTIVE" in line:
            break  # from here on: what runs instead of a shuffle when a warp is not together, and jumps back to it
        if "@!PT" in line:
            continue  # never executed
        if label := re.match(r"(\.L_\w+):", line):
            labels[label[1]] = len(opcodes)
        elif code := re.match(r"\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+ )?\s*([A-Z][\w.]*)(.*)", line):
            opcodes.append(code[1])
            target = re.search(r"\((\.L_\w+)\)", code[2])
            if code[1].startswith("BRA") and target and labels.get(target[1], len(opcodes)) < len(opcodes) - 1:
                back[labels[target[1]]] = len(opcodes)  # a later branch to the same place: the loop is longer
    owner = [None] * len(opcodes)
    for begin, end in sorted(back.items(), key=lambda loop: loop[0] - loop[1]):  # the longest first, the inner overwrite
        owner[begin:end] = [begin] * (end - begin)
    for begin in sorted(back):
        yield [opcode for opcode, loop in zip(opcodes, owner) if loop == begin]


def counts(loop):
    found = collections.Counter()
    for opcode in loop:
        column = next((c for c, pattern in COLUMNS.items() if re.match(pattern, opcode)), None)
        found[column] += 1
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="sm_90a")
    parser.add_argument("--all", action="store_true", help="also loops that only copy")
    parser.add_argument("names", nargs="+", metavar="NAME")
    options = parser.parse_args()
    rows = []
    for name in options.names:
        source = name if name.endswith(".cu") else f"bench/ladders/{name}.cu"
        for kernel, lines in reversed(list(kernels(disassembly(source, options.arch)))):  # in the order of the source
            for loop in loops(lines):
                found = counts(loop)
                if options.all or found["LOP3, SHF"] > 9 or any(found[c] for c in ARITHMETIC):
                    rows.append((kernel, len(loop), found))
    used = [c for c in COLUMNS if any(found[c] for *_, found in rows)]
    print(f"| kernel ({options.arch}) | all | " + " | ".join(used) + " |")
    print("|---|" + "---:|" * (len(used) + 1))
    for kernel, total, found in rows:
        print(f"| {kernel} | {total} | " + " | ".join(str(found[c] or "") for c in used) + " |")


if __name__ == "__main__":
    main()
