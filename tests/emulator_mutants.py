#!/usr/bin/env python3
"""Runs kernels with injected bugs on the emulator and checks that each is noticed by the builds that should notice it.

Usage: tests/emulator_mutants.py KIND PROGRAM

KIND is the kind of build that PROGRAM (hashgrad_mutants) is of: plain (which runs each bug in three thread orders), asan
(AddressSanitizer and UndefinedBehaviorSanitizer) or tsan (ThreadSanitizer). The table says which kinds must notice a bug;
others may. No kind may notice anything in a control. docs/emulator_mutants.md is the same table for readers: it is compared
with this one, and written when HASHGRAD_WRITE_DOCS is set.
"""
import os
import pathlib
import re
import subprocess
import sys

SOURCES = pathlib.Path(__file__).resolve().parents[1]
DOCUMENT = SOURCES / "docs/emulator_mutants.md"

MUST_NOTICE = {
    "control": "",
    "control_separate_arrays": "",
    "control_reused_array": "",
    "tile_read_early": "plain asan tsan",
    "tile_overwritten_early": "plain asan tsan",
    "static_shared_overrun": "asan",
    "reduce_read_early": "plain asan tsan",
    "reduce_reused_early": "tsan",
    "divergent_warp_operation": "plain asan tsan",
    "lane_outside_mask": "plain asan tsan",
    "divergent_barrier": "plain asan tsan",
    "deadlock": "plain asan tsan",
    "global_write_overrun": "asan",
    "zeroing_not_awaited": "plain asan tsan",
    "counts_read_early": "plain asan tsan",
    "shared_increment_not_atomic": "tsan",
    "dynamic_shared_overrun": "asan",
    "dynamic_shared_not_written": "plain asan tsan",
    "static_shared_not_written": "plain asan tsan",
    "global_add_not_atomic": "tsan",
    "blocks_store_to_one_place": "tsan",
    "shift_too_far": "asan",
    "global_read_overrun": "asan",
    "use_after_release": "asan",
    "copy_not_awaited": "plain asan tsan",
    "copies_of_others_not_awaited": "plain asan tsan",
    "syncwarp_missing": "plain asan tsan",
}
ORDERS = {"plain": ["ascending", "descending", "random"], "asan": ["ascending"], "tsan": ["ascending"]}


def notice(program, bug, order):
    """What one run says: an empty text when nothing was noticed."""
    environment = dict(os.environ, HASHGRAD_EMU_ORDER=order)
    try:
        run = subprocess.run([program, bug], env=environment, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return "it does not end"
    if run.returncode == 0:
        return ""
    for mark in ("runtime error:", "SUMMARY:", "noticed:"):
        for line in (run.stderr + run.stdout).splitlines():
            if mark in line:
                return line[line.index(mark) :][:100]
    return f"exit status {run.returncode}"


def document():
    """The table with the words of tests/emulator/mutants.h."""
    words = dict(re.findall(r"X\((\w+)\)\s*/\* (.*?) \*/", (SOURCES / "tests/emulator/mutants.h").read_text()))
    lines = [
        "# Injected bugs and who notices them",
        "",
        "The emulator is trusted because of what it finds: each row is a right kernel of `tests/emulator/mutants.cu` with one bug.",
        "`yes`: this kind of build must notice it, or `ctest` fails. Empty: it need not, because the results can be right all the",
        "same. The plain build runs each bug in three thread orders; asan is AddressSanitizer with UndefinedBehaviorSanitizer,",
        "tsan ThreadSanitizer. Nothing may be noticed in a control. Written by `tests/emulator_mutants.py`",
        "(`HASHGRAD_WRITE_DOCS=1`) from the table that it checks.",
        "",
        "| bug | what is wrong | " + " | ".join(ORDERS) + " |",
        "|---|---|" + "---|" * len(ORDERS),
    ]
    for bug, kinds in MUST_NOTICE.items():
        cells = ["nothing" if bug.startswith("control") else "yes" if kind in kinds.split() else "" for kind in ORDERS]
        lines.append(f"| `{bug}` | {words[bug]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ORDERS:
        sys.exit(__doc__)
    kind, program = sys.argv[1:]
    listed = subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()
    assert listed == list(MUST_NOTICE), "the table and tests/emulator/mutants.h name different bugs"
    wrong = 0
    for bug, kinds in MUST_NOTICE.items():
        is_control = bug.startswith("control")
        assert is_control or kinds, f"nothing must notice {bug}"
        notices = [notice(program, bug, order) for order in ORDERS[kind]]
        seen = next((text for text in notices if text), "")
        ok = not seen if is_control else bool(seen) or kind not in kinds.split()
        wrong += not ok
        where = ", ".join(order for order, text in zip(ORDERS[kind], notices) if text)
        print(f"{'ok   ' if ok else 'WRONG'} {bug:29} {where + ': ' if where else ''}{seen or 'nothing noticed'}")
    if "HASHGRAD_WRITE_DOCS" in os.environ:
        DOCUMENT.write_text(document())
    if not DOCUMENT.exists() or DOCUMENT.read_text() != document():
        sys.exit("docs/emulator_mutants.md is out of date: run the tests with HASHGRAD_WRITE_DOCS=1")
    sys.exit(f"{wrong} of {len(MUST_NOTICE)} are not as the table says" if wrong else 0)


if __name__ == "__main__":
    main()
