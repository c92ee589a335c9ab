#!/usr/bin/env python3
"""Drives the hashgrad command as its users do: every verb once, its files read back, and an interrupted training.

usage: tests/cli_test.py BINARY [unittest arguments]
"""
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zlib

BINARY = ""
ROOT = pathlib.Path(__file__).resolve().parent.parent
SPEC = "1x28x28 conv4k5p2 relu maxpool2 flatten fc16@1/4 relu dropout0.1 fc10"
DATA = ["--data", "synthetic-digits"]


def read_safetensors(path):
    """{name: (dtype, shape, bytes)} and the metadata."""
    with open(path, "rb") as file:
        content = file.read()
    length = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8:8 + length]), content[8 + length:]
    metadata = header.pop("__metadata__", {})
    return {name: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for name, t in header.items()}, metadata


def numbers(tensor):
    dtype, _, content = tensor
    code = {"F32": "f", "F64": "d", "I64": "q", "U8": "B"}[dtype]
    return list(struct.unpack(f"<{len(content) // struct.calcsize(code)}{code}", content))


def write_images(path, n):
    """Unlabelled images of 28x28."""
    header = json.dumps({"x": {"dtype": "U8", "shape": [n, 1, 28, 28], "data_offsets": [0, n * 784]}}).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + bytes(range(256)) * 3 * n + bytes(n * 16))


def gray_png(width, height, level):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    rows = (b"\0" + bytes([level] * width)) * height
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


class Command(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="cli_test.")
        cls.model = cls.path("model.safetensors")
        cls.run_ok("train", SPEC, *DATA, "--first", "512", "--epochs", "1", "--output", cls.model, "--json",
                   cls.path("train.json"))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder, name)

    @classmethod
    def run_ok(cls, *arguments):
        done = subprocess.run([BINARY, *arguments], capture_output=True, text=True, errors="surrogateescape", cwd=cls.folder)
        if done.returncode != 0:
            raise AssertionError(f"{arguments}: exit {done.returncode}: {done.stderr}")
        return done.stdout

    def assert_error(self, phrase, *arguments, code=None, env=None):
        """A failure (1) or bad usage (2), in one line with this phrase."""
        done = subprocess.run([BINARY, *arguments], capture_output=True, text=True, cwd=self.folder, env=env)
        self.assertIn(done.returncode, (code,) if code else (1, 2), done.stdout)
        self.assertIn(phrase, done.stderr)
        self.assertEqual((done.stdout, done.stderr.count("\n")), ("", 1), done.stderr)

    def start(self, command, until):
        """The process of a command, once `until()` holds or it has ended."""
        process = subprocess.Popen([BINARY, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while not until() and process.poll() is None:
            time.sleep(0.001)
        return process

    def interrupt(self, command, until):
        """Starts a command and interrupts it once `until()` holds; what it says."""
        process = self.start(command, until)
        process.send_signal(signal.SIGINT)
        stderr = process.communicate()[1]
        self.assertEqual(process.returncode, 130, stderr)
        return stderr

    def json_of(self, name):
        with open(self.path(name)) as file:
            return json.load(file)

    def tensors(self, name):
        return read_safetensors(self.path(name))[0]

    def test_help_names_every_verb_and_flag(self):
        verbs = ["demo", "train", "evaluate", "predict", "gradient", "attack", "substitute", "transfer",
                 "compress", "defend", "materialise",
                 "info", "models", "report"]
        text = self.run_ok("--help")
        for verb in verbs:
            self.assertIn(verb, text)
            help_text = self.run_ok(verb, "--help")
            for flag in ["--device", "--dtype", "--seed", "--threads", "--batch", "--quiet", "--json"]:
                self.assertIn(flag, help_text)

    def test_errors_about_odd_names_say_what_is_wrong_in_one_line(self):
        for words, code, text in ((["info", "a\nb"], 1, "a\\nb: No such file or directory"),
                                  (["attack", "a\nb", self.model, "--output", "none"], 2, "NAME: attack 'a\\nb' is not known"),
                                  (["info", ""], 2, "MODEL: the name is empty"),
                                  (["evaluate", self.model, *DATA, "--indices", ""], 2, "--indices: the name is empty"),
                                  (["attack", "fgsm", self.model, *DATA, "--surrogate", "", "--output", "none"], 2,
                                   "--surrogate: the name is empty")):
            done = subprocess.run([BINARY, *words], capture_output=True, text=True, cwd=self.folder)
            self.assertEqual((done.returncode, done.stdout), (code, ""), words)
            self.assertTrue(done.stderr.startswith("hashgrad: " + text), done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1)

    def test_help_names_every_law_of_initial_weights(self):
        done = subprocess.run([BINARY, "train", SPEC, "--init", "none", "--output", "none"], capture_output=True, text=True)
        help_text = " ".join(self.run_ok("train", "--help").split())
        for name in re.search("accepted: (.*)", done.stderr).group(1).split(", "):
            self.assertIn(name, help_text)

    def test_train_leaves_model_and_log_but_no_checkpoint(self):
        tensors, metadata = read_safetensors(self.model)
        self.assertEqual(tensors["0.weight"][1], [4, 1, 5, 5])
        self.assertEqual(tensors["4.weight"][1], [784 * 16 // 4])
        self.assertEqual(metadata["spec"], SPEC)
        self.assertFalse(os.path.exists(self.model + ".checkpoint"))
        with open(self.model + ".csv") as file:
            self.assertEqual(len(file.read().splitlines()), 2)
        record = self.json_of("train.json")
        self.assertEqual(record["epochs"], 1)
        self.assertEqual(record["settings"]["lr"], "0.05")

    def test_evaluate_writes_accuracy_with_interval_and_settings(self):
        self.run_ok("evaluate", self.model, *DATA, "--first", "100", "--json", self.path("evaluate.json"))
        record = self.json_of("evaluate.json")
        self.assertEqual(record["n"], 100)
        self.assertAlmostEqual(record["accuracy"], record["correct"] / 100)
        self.assertLess(record["interval"][0], record["accuracy"])
        self.assertGreater(record["interval"][1], record["accuracy"])
        self.assertEqual(record["settings"]["first"], "100")
        self.assertIn("evaluate", record["command"])

    def test_evaluate_estimates_robustness_in_any_batch(self):
        command = ["evaluate", self.model, *DATA, "--first", "20", "--estimator", "--alpha", "0.25"]
        self.assertIn("estimator: g", self.run_ok(*command, "--json", self.path("estimate.json")))
        record = self.json_of("estimate.json")
        self.assertGreater(record["g"], 0)
        self.assertAlmostEqual(record["R"], 0.25 * record["g"] + 0.75 * record["phi"])
        self.run_ok(*command, "--batch", "7", "--json", self.path("estimate7.json"))
        for part in ("g", "phi", "R"):
            self.assertEqual(self.json_of("estimate7.json")[part], record[part])
        self.run_ok("evaluate", self.model, *DATA, "--first", "20", "--json", self.path("plain.json"))
        self.assertNotIn("R", self.json_of("plain.json"))
        self.assert_error("--alpha requires --estimator", "evaluate", self.model, *DATA, "--alpha", "0.5")
        self.assert_error("is not a number in [0, 1]", "evaluate", self.model, *DATA, "--estimator", "--alpha", "2")

    def test_predict_in_both_precisions_agrees(self):
        for dtype, code in (("float32", "F32"), ("float64", "F64")):
            self.run_ok("predict", self.model, *DATA, "--first", "17", "--dtype", dtype, "--output", self.path(dtype))
            self.assertEqual(self.tensors(dtype)["logits"][:2], (code, [17, 10]))
        for a, b in zip(numbers(self.tensors("float32")["logits"]), numbers(self.tensors("float64")["logits"])):
            self.assertAlmostEqual(a, b, delta=1e-3)

    def test_predict_does_not_depend_on_batch_or_threads(self):
        for name, flags in (("a", ["--batch", "1", "--threads", "1"]), ("b", ["--batch", "64", "--threads", "2"])):
            self.run_ok("predict", self.model, *DATA, "--first", "33", *flags, "--output", self.path(name))
        self.assertEqual(self.tensors("a")["logits"], self.tensors("b")["logits"])

    def test_arithmetics_agree_as_far_as_they_promise(self):
        self.run_ok("predict", self.model, *DATA, "--first", "33", "--dtype", "float64", "--output", self.path("exact"))
        exact = numbers(self.tensors("exact")["logits"])
        for math, error in (("fp32", 1e-5), ("split-bf16-x6", 1e-5), ("split-bf16", 1e-4), ("bf16", 5e-2)):
            self.run_ok("predict", self.model, *DATA, "--first", "33", "--math", math, "--device", "cpu", "--output",
                        self.path(math))
            far = max(abs(a - b) for a, b in zip(exact, numbers(self.tensors(math)["logits"])))
            self.assertLess(far, error * max(map(abs, exact)), math)
            if math == "bf16":
                self.assertGreater(far, 1e-4)  # that --math arrives
        self.run_ok("attack", "pgd", self.model, *DATA, "--first", "9", "--eps", "0.2", "--math", "split-bf16",
                    "--device", "cpu", "--output", self.path("adv"))
        self.assertEqual(self.tensors("adv")["success"][1], [9])
        self.run_ok("train", "1x28x28 flatten fc10", *DATA, "--first", "64", "--epochs", "1", "--math", "split-bf16",
                    "--device", "cpu", "--output", self.path("trained"))

    def test_paths_may_be_of_any_bytes(self):
        odd = lambda name: os.fsencode(self.path("")) + name + b"\xe9.safetensors"
        self.run_ok("attack", "fgsm", self.model, *DATA, "--first", "20", "--output", odd(b"images"))
        shutil.copy(self.model, odd(b"model"))
        self.run_ok("predict", odd(b"model"), "--input", odd(b"images"), "--output", odd(b"logits"), "--json", odd(b"json"))
        self.assertEqual(read_safetensors(odd(b"logits"))[1]["model"], self.path("model\ufffd.safetensors"))
        self.run_ok("report", odd(b"model"), "--input", odd(b"images"), "--quiet", "--output", odd(b"report"))
        self.assertIn(b"report.html", os.listdir(odd(b"report")))
        train = ["train", SPEC, "--data", odd(b"images"), "--epochs", "1", "--output", odd(b"trained")]
        self.run_ok(*train, "--checkpoint", self.path("odd.checkpoint"))
        self.run_ok(*train, "--resume", self.path("odd.checkpoint"))

    def test_outputs_are_checked_before_the_work(self):
        nowhere, some = self.path("nowhere/out"), [*DATA, "--first", "5"]
        for verb in (["attack", "fgsm", self.model], ["compress", "kmeans", self.model], ["transfer", self.model, self.model],
                     ["evaluate", self.model], ["defend", "gi1", self.model],
                     ["substitute", self.model, "--spec", "1x28x28 flatten fc10"]):
            extra = ["--attack", "fgsm"] if verb[0] == "transfer" else []
            output = [] if verb[0] in ("transfer", "evaluate") else ["--output", self.path("unwritten")]
            self.assert_error("nowhere/out: cannot be written", *verb, *extra, *output, *(some if verb[0] != "defend" else []),
                              "--json", nowhere, code=1)
            self.assertFalse(os.path.exists(self.path("unwritten")), verb)
        for one, other, owner in ((self.path("unwritten"), self.path("./unwritten"), "--output"),
                                  ("unwritten", self.path("unwritten"), "--output"),
                                  ("unwritten", "unwritten.csv", "--log"),  # the names of these two by default
                                  ("unwritten", "unwritten.checkpoint", "--checkpoint")):
            self.assert_error(f"is the file of {owner} already", "train", SPEC, *some, "--output", one, "--json", other, code=2)
            self.assertFalse(os.path.exists(self.path("unwritten.csv")))

    def test_a_run_goes_on_with_the_model_that_it_started_with(self):
        common = ("--density", "0.5", "--epochs", "1", *DATA, "--first", "40", "--quiet")
        self.run_ok("compress", "prune", self.model, *common, "--checkpoint", self.path("started"), "--output", self.path("s"))
        self.run_ok("train", SPEC, *DATA, "--first", "40", "--epochs", "1", "--quiet", "--output", self.path("another"))
        self.run_ok("compress", "prune", self.model, *common, "--resume", self.path("started"), "--output", self.path("again"))
        self.assertEqual(self.tensors("again"), self.tensors("s"))
        self.assert_error("was made with start '", "compress", "prune", self.path("another"), *common, "--resume",
                          self.path("started"), "--output", self.path("never"))

    def test_no_output_replaces_what_the_command_reads(self):
        model, images, chosen = (self.path(name) for name in ("read.safetensors", "read-images.safetensors", "read.txt"))
        shutil.copy(self.model, model)
        self.run_ok("attack", "fgsm", model, *DATA, "--first", "5", "--output", images)
        pathlib.Path(chosen).write_text("1 3")
        before = [pathlib.Path(path).read_bytes() for path in (model, images, chosen)]
        for named, words in (("MODEL", ["attack", "fgsm", model, *DATA, "--output", model]),
                             ("MODEL", ["evaluate", "read.safetensors", *DATA, "--json", model]),
                             ("MODEL", ["predict", model, *DATA, "--output", "./read.safetensors"]),
                             ("--input", ["predict", model, "--input", images, "--output", images]),
                             ("--data", ["train", SPEC, "--data", images, "--output", images]),
                             ("--indices", ["evaluate", model, *DATA, "--indices", chosen, "--json", chosen])):
            self.assert_error(f"is read for {named}, and would be written over", *words)
        self.assertEqual(before, [pathlib.Path(path).read_bytes() for path in (model, images, chosen)])

    def test_no_other_output_replaces_a_model_that_may_be_changed_in_place(self):
        model, log, begun = (self.path(name) for name in ("place.safetensors", "placed.csv", "begun"))
        few = (*DATA, "--first", "40", "--epochs", "1", "--quiet")
        self.run_ok("train", SPEC, *few, "--checkpoint", begun, "--output", model)
        shutil.copy(model, log)
        pathlib.Path(self.path("chosen.csv")).write_text("1 3")
        placed, sharing = self.path("placed"), ("--bits", "2")
        for named, *words in (("MODEL", "compress", "kmeans", model, *sharing, "--output", placed, "--json", model),
                              ("MODEL", "defend", "gi1", model, "--output", placed, "--json", model),
                              ("MODEL", "materialise", model, "--output", placed, "--json", model),
                              ("MODEL", "compress", "kmeans", model, *sharing, *few, "--output", placed, "--log", model),
                              ("MODEL", "compress", "kmeans", log, *sharing, *few, "--output", placed),  # whose log it names
                              ("--indices", "train", SPEC, *few[:2], "--indices", self.path("chosen.csv"), "--output",
                               self.path("chosen")),
                              *(("--resume", "train", SPEC, *few, "--resume", begun, flag, begun,
                                 *(() if flag == "--output" else ("--output", placed)))
                                for flag in ("--output", "--log", "--json"))):
            self.assert_error(f"is read for {named}, and would be written over", *words)
        self.run_ok("info", model)
        self.run_ok("info", log)
        self.assertFalse(os.path.exists(placed))
        self.run_ok("train", SPEC, *few, "--resume", begun, "--checkpoint", begun, "--output", placed)
        self.run_ok("compress", "kmeans", model, *sharing, *few, "--output", model)

    def test_one_verb_at_a_time(self):
        self.assert_error("The following argument was not expected: models", "info", self.model, "models")
        shutil.copy(self.model, self.path("models"))  # a file may have the name of a verb
        self.assertIn("fc16@1/4", self.run_ok("info", "models"))

    def test_the_record_of_a_run_says_what_was_typed(self):
        odd = self.path("it's [a] {b}.json")
        words = ["evaluate", self.model, "--data=synthetic-digits", "--first", "5", "--quiet=false", "--json", odd]
        self.run_ok(*words)
        record = self.json_of(odd)
        self.assertEqual(shlex.split(record["command"]), ["hashgrad", *words])
        self.assertEqual(subprocess.run(["sh", "-c", record["command"].replace("hashgrad", "printf '%s\\n'", 1)],
                                        capture_output=True, text=True).stdout.splitlines(), words)
        self.assertIs(record["settings"]["quiet"], False)

    def test_flags_may_stand_in_front_of_names(self):
        rest = (*DATA, "--first", "5", "--quiet")
        self.run_ok("attack", "--grow", "0.1,0.2", "fgsm", self.model, *rest, "--output", self.path("before"))
        self.run_ok("attack", "fgsm", self.model, *rest, "--output", self.path("behind"), "--grow", "0.1,0.2")
        self.assertEqual(self.tensors("before"), self.tensors("behind"))

    def test_what_a_killed_process_left_is_in_nobodys_way(self):
        output = self.path("after.safetensors")
        def leave():  # in the process that becomes the command, so under its number
            for k in range(9):
                open(f"{output}.tmp-{os.getpid()}-{k}", "w").close()
        done = subprocess.run([BINARY, "train", "1x28x28 flatten fc10", *DATA, "--first", "40", "--epochs", "1", "--quiet",
                               "--output", output], capture_output=True, text=True, preexec_fn=leave)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.run_ok("info", output)

    def test_images_keep_their_numbers_when_others_are_left_out(self):
        def attacked(name, *which):
            self.run_ok("attack", "pgd", self.model, *DATA, *which, "--target", "random", "--output", self.path(name))
            return self.tensors(name)
        pathlib.Path(self.path("chosen.txt")).write_text("7 0 5 2")
        whole, rest = attacked("numbers", "--first", "8"), attacked("numbers-rest", "--skip", "3", "--first", "5")
        chosen = attacked("numbers-chosen", "--indices", self.path("chosen.txt"), "--skip", "1")
        size = len(whole["x_adv"][2]) // 8
        rows = [whole["x_adv"][2][k * size:(k + 1) * size] for k in range(8)]
        self.assertEqual(whole["target"][2][3 * 8:], rest["target"][2])
        self.assertEqual(b"".join(rows[3:]), rest["x_adv"][2])
        self.assertEqual(rows[0] + rows[5] + rows[2], chosen["x_adv"][2])

    def test_devices_by_number(self):
        for device, visible, message in (("cuda:1", "3", "'cuda:1' cannot be used: CUDA_VISIBLE_DEVICES=3 shows 1"),
                                         ("cuda:2", "", "'cuda:2' cannot be used: CUDA_VISIBLE_DEVICES= shows 0"),
                                         ("cuda:-1", "3", "'cuda:-1' is unknown"), ("cuda:", "3", "'cuda:' is unknown"),
                                         ("cuda:1000000", "3", "'cuda:1000000' is unknown"), ("cuda:0x", "3", "'cuda:0x' is unknown")):
            self.assert_error(message, "evaluate", self.model, *DATA, "--device", device, code=2,
                              env={**os.environ, "CUDA_VISIBLE_DEVICES": visible})

    def test_instruction_set_by_name(self):
        words = ["evaluate", self.model, *DATA, "--first", "20", "--json", self.path("isa.json")]
        self.assert_error("HASHGRAD_ISA: unknown instruction set 'sse' (accepted: plain", *words, code=1,
                          env={**os.environ, "HASHGRAD_ISA": "sse"})
        if not pathlib.Path("/proc/cpuinfo").exists() or "amx_bf16" not in pathlib.Path("/proc/cpuinfo").read_text():
            self.assert_error("HASHGRAD_ISA: this machine has no amx", *words, code=1,
                              env={**os.environ, "HASHGRAD_ISA": "amx"})

    def test_flags_that_would_do_nothing_are_refused(self):
        self.run_ok("attack", "fgsm", self.model, *DATA, "--first", "20", "--output", self.path("few.safetensors"))
        unlabelled = self.path("unlabelled.safetensors")
        write_images(unlabelled, 3)
        for message, words in (("--hash-seed: is of hashed layers", ["train", "1x28x28 flatten fc10", *DATA, "--hash-seed", "4"]),
                               ("--hashed-lr: is of hashed layers", ["train", "1x28x28 flatten fc10", *DATA, "--hashed-lr", "2"]),
                               ("--input excludes --split", ["predict", self.model, "--input", unlabelled, "--split", "train"]),
                               ("--input excludes --data-dir", ["attack", "fgsm", self.model, "--input", unlabelled, "--data-dir", "."]),
                               ("--gamma: is of a training", ["compress", "dns", self.model, "--density", "0.1", "--gamma", "5"]),
                               ("holds no labels y, which --loss margin needs",
                                ["gradient", self.model, "--input", unlabelled, "--loss", "margin", "--jacobian", "logits"]),
                               ("samples [0, 10001) asked for", ["evaluate", self.model, *DATA, "--first", "10001", "--json", self.path("j")])):
            self.assert_error(message, *words, *(["--output", self.path("nothing")] if words[0] != "evaluate" else []))
        self.run_ok("gradient", self.model, "--input", unlabelled, "--jacobian", "logits", "--output", self.path("jacobian"))
        self.assertNotIn("loss", read_safetensors(self.path("jacobian"))[1])
        self.assert_error("--full", "demo", "--full", "--epochs", "1", "--output", self.path("demo"))
        for verb in (["demo"], ["report", self.model, *DATA, "--first", "5"]):
            self.assert_error("--output: the name of the folder is empty", *verb, "--output", "")
        self.assert_error("has no test images besides", "demo", "--data", self.path("few.safetensors"), "--output",
                          self.path("demo"))

    def test_the_manual_lists_every_attack(self):
        manual = ROOT / "docs" / "cli.md"
        table = [line.split("|")[1] for line in manual.read_text().splitlines() if line.startswith("| `")]
        for name in re.search("attack: (.*)", self.run_ok("attack", "--help")).group(1).split(", "):
            self.assertTrue(any(f"`{name}`" in cell for cell in table), name)

    def test_gradient_and_jacobian(self):
        self.run_ok("gradient", self.model, *DATA, "--first", "3", "--loss", "logit:2", "--jacobian", "logits",
                    "--output", self.path("gradient"))
        tensors = self.tensors("gradient")
        self.assertEqual(tensors["gradient"][1], [3, 1, 28, 28])
        self.assertEqual(tensors["jacobian"][1], [3, 10, 1, 28, 28])
        gradient, jacobian = numbers(tensors["gradient"]), numbers(tensors["jacobian"])
        for n in range(3):
            row = jacobian[(n * 10 + 2) * 784:(n * 10 + 3) * 784]
            for a, b in zip(gradient[n * 784:(n + 1) * 784], row):
                self.assertAlmostEqual(a, b, delta=1e-6)

    def test_every_attack_writes_every_tensor(self):
        per_row = {"success": "U8", "first_success": "I64", "l0": "F64", "l1": "F64", "l2": "F64", "linf": "F64",
                   "status": "I64", "forwards": "I64", "backwards": "I64", "y": "I64"}
        for attack in (["fgsm", "--eps", "0.2"], ["fgm"], ["bim", "--iters", "3"], ["pgd", "--iters", "3"],
                       ["jsma", "--rule", "single", "--on", "logits", "--gamma", "0.02"],
                       ["zoo", "--iters", "2", "--coordinates", "3"], ["random-noise", "--draws", "2"],
                       ["hop-skip-jump", "--iters", "1", "--probes", "2", "--draws", "2"]):
            out = self.path(attack[0])
            self.run_ok("attack", attack[0], self.model, *attack[1:], *DATA, "--first", "17", "--batch", "5", "--quiet",
                        "--output", out, "--json", out + ".json")
            tensors = self.tensors(attack[0])
            for name in ("x", "x_adv"):
                self.assertEqual(tensors[name][:2], ("F32", [17, 1, 28, 28]))
            for name, dtype in per_row.items():
                self.assertEqual(tensors[name][:2], (dtype, [17]), name)
            self.assertEqual(sum(numbers(tensors["success"])), self.json_of(attack[0] + ".json")["success"]["hits"])
        self.assertLessEqual(max(numbers(self.tensors("fgsm")["linf"])), 0.2)

    def test_targeted_attack_takes_its_targets_from_the_file_or_a_rule(self):
        self.run_ok("attack", "fgsm", self.model, *DATA, "--first", "5", "--target", "next", "--output", self.path("next"))
        first = self.tensors("next")
        self.assertEqual(numbers(first["target"]), [(y + 1) % 10 for y in numbers(first["y"])])
        self.run_ok("attack", "fgsm", self.model, "--input", self.path("next"), "--targeted", "--output", self.path("again"))
        self.assertEqual(self.tensors("again")["x_adv"], first["x_adv"])
        for flags, begin, end in ((["--first", "2"], 0, 2), (["--skip", "3"], 3, 5), (["--skip", "1", "--first", "2"], 1, 3)):
            self.run_ok("attack", "fgsm", self.model, "--input", self.path("next"), "--targeted", *flags, "--output",
                        self.path("part"))
            for name, row in (("target", 8), ("x_adv", 4 * 784)):  # and the bytes of a row
                self.assertEqual(self.tensors("part")[name][2], first[name][2][begin * row:end * row])
        header = json.dumps({"x": {"dtype": "U8", "shape": [2, 1, 28, 28], "data_offsets": [0, 1568]},
                             "y": {"dtype": "I64", "shape": [2], "data_offsets": [1568, 1584]},
                             "target": {"dtype": "I64", "shape": [3], "data_offsets": [1584, 1608]}}).encode()
        pathlib.Path(self.path("longer")).write_bytes(struct.pack("<Q", len(header)) + header + bytes(1568) +
                                                      struct.pack("<5q", 0, 0, 1, 1, 1))
        self.assert_error("target has 3 rows, x 2", "attack", "fgsm", self.model, "--input", self.path("longer"), "--targeted",
                          "--first", "2", "--output", self.path("part"))
        out = self.run_ok("attack", "fgsm", self.model, *DATA, "--first", "2", "--target", "all", "--output", self.path("all"),
                          "--json", self.path("all.json"))
        self.assertIn("9 rows of each image, which intervals count as one", out)
        self.assertEqual([self.json_of("all.json")["success"][key] for key in ("n", "per_image")], [18, 9])
        self.assertEqual(self.tensors("all")["x_adv"][1], [18, 1, 28, 28])
        self.run_ok("attack", "fgsm", self.model, *DATA, "--first", "2", "--target", "all", "--grow", "0.1,1", "--output",
                    self.path("grown"), "--json", self.path("grown.json"))
        grown = self.json_of("grown.json")
        self.assertEqual(grown["growth"][1]["success"], grown["success"])  # of two images, not of 18

    def test_one_model_is_attacked_by_way_of_another(self):
        self.run_ok("substitute", self.model, "--spec", "1x28x28 flatten fc16 relu fc10", *DATA, "--first", "40", "--seeds", "8",
                    "--rounds", "3", "--epochs", "2", "--output", self.path("substitute"), "--json", self.path("s.json"))
        self.assertEqual(self.json_of("s.json")["queries"], 32)
        self.assertEqual(self.json_of("s.json")["agreement"]["n"], 32)
        images = [*DATA, "--skip", "8", "--first", "12", "--quiet"]
        table = self.run_ok("transfer", self.path("substitute"), self.model, "--attack", "fgsm:eps=0.3", "--attack",
                            "random-noise:draws=2", *images, "--json", self.path("t.json"))
        self.assertIn("random-noise:draws=2", table)
        lines = {(t["attack"], t["crafted_on"], t["applied_to"]): t for t in self.json_of("t.json")["transfers"]}
        self.assertEqual(len(lines), 8)
        self.run_ok("attack", "fgsm", self.path("substitute"), *images, "--eps", "0.3", "--output", self.path("crafted"),
                    "--json", self.path("a.json"))
        self.assertEqual(lines["fgsm:eps=0.3", "source", "source"]["wrong"], self.json_of("a.json")["wrong"])
        self.run_ok("attack", "fgsm", self.model, "--surrogate", self.path("substitute"), *images, "--eps", "0.3", "--output",
                    self.path("bpda"), "--json", self.path("b.json"))
        self.assertEqual(self.tensors("bpda")["x_adv"], self.tensors("crafted")["x_adv"])
        self.assertEqual(lines["fgsm:eps=0.3", "source", "target"]["wrong"], self.json_of("b.json")["wrong"])
        self.run_ok("attack", "hop-skip-jump", self.model, *images, "--iters", "1", "--probes", "2", "--start",
                    self.path("crafted"), "--output", self.path("hsj"))
        self.assertLessEqual(max(numbers(self.tensors("hsj")["first_success"])), 12)

    def test_a_network_that_answers_by_draw(self):
        images = [*DATA, "--first", "9", "--quiet"]
        self.run_ok("defend", "gi3", self.model, "--eps", "2", "--layers", "last:1", "--output", self.path("drawing"))
        self.run_ok("defend", "gi3", self.model, "--eps", "2", "--draws", "once", "--output", self.path("drawn"))
        self.run_ok("defend", "dropout", self.model, "--rate", "0.5", "--output", self.path("dropping"))
        self.run_ok("defend", "gi2", self.model, "--eps", "1", "--output", self.path("doubled"))
        self.run_ok("defend", "logits-augmentation", self.model, "--eps", "1", "--output", self.path("augmented"))
        self.assertEqual(self.tensors("doubled"), self.tensors("augmented"))
        out = self.run_ok("evaluate", self.path("drawing"), *DATA, "--draws", "5", "--json", self.path("e.json"))
        self.assertIn("mean accuracy of 5 draws", out)
        e = self.json_of("e.json")
        self.assertEqual((e["draws"], e["majority"]["n"] > 0), (5, True))
        self.assertGreater(e["standard_error"], 0)
        self.assertGreater(e["loss"], 0)
        for model, draws in (("drawing", 3), ("dropping", 3), ("drawn", 1)):
            self.run_ok("predict", self.path(model), *images, "--draws", "3", "--output", self.path("logits"), "--json",
                        self.path("p.json"))
            self.assertEqual(self.json_of("p.json")["draws"], draws)
            self.run_ok("gradient", self.path(model), *images, "--draws", "3", "--output", self.path("gradient"))
            for piece in ("2", "9"):
                self.run_ok("attack", "bim", self.path(model), *images, "--iters", "2", "--eot-draws", "3", "--judge-draws", "5",
                            "--batch", piece, "--output", self.path("by" + piece))
            self.assertEqual(self.tensors("by2"), self.tensors("by9"))
            self.assertEqual(max(numbers(self.tensors("by9")["backwards"])), 2 * draws)
        self.run_ok("transfer", self.model, self.path("drawing"), "--attack", "fgsm:eps=0.2", "--eot-draws", "2",
                    "--judge-draws", "3", *images)
        for arguments, code, words in (
                (["compress", "hash", self.path("drawing")], 1, "draws random numbers at every answer"),
                (["defend", "gi3", self.path("drawing")], 1, "gi3: the model has this defence already"),
                (["defend", "gi1", self.path("drawing")], 1, "gi1: changes weights of which another defence draws"),
                (["defend", "gi1", self.model, "--rate", "0.5"], 2, "--rate: does not apply to gi1, only to dropout"),
                (["train", SPEC, *DATA, "--optimizer", "adam", "--momentum", "0.3"], 2, "--momentum: adam has none")):
            self.assert_error(words, *arguments, "--output", self.path("none"), code=code)
            self.assertFalse(os.path.exists(self.path("none")))

    def test_compress_materialise_and_defend_keep_the_function_they_promise(self):
        self.run_ok("compress", "hash", self.model, "--rate", "1/2", "--layers", "last:1", "--output", self.path("hashed"))
        self.run_ok("materialise", self.path("hashed"), "--output", self.path("dense"))
        self.run_ok("defend", "gi1", self.path("dense"), "--eps", "0", "--output", self.path("defended"))
        self.assertEqual(self.tensors("hashed")["7.weight"][1], [80])
        self.assertEqual(self.tensors("dense")["7.weight"][1], [10, 16])
        self.assertEqual(self.tensors("dense"), self.tensors("defended"))
        for name in ("hashed", "dense"):
            self.run_ok("predict", self.path(name), *DATA, "--first", "5", "--output", self.path(name + "_logits"))
        for a, b in zip(numbers(self.tensors("hashed_logits")["logits"]), numbers(self.tensors("dense_logits")["logits"])):
            self.assertAlmostEqual(a, b, delta=1e-4)

    def test_input_transforms_have_no_gradient_and_bpda_looks_past_them(self):
        images = (*DATA, "--first", "5")
        for method, flags in (("bit-depth", ("--bits", "2")), ("median", ("--size", "2")), ("jpeg", ("--quality", "30")),
                              ("feature-distillation", ("--step", "40"))):
            self.run_ok("defend", method, self.model, *flags, "--output", self.path(method), "--json", self.path("d.json"))
            self.assertEqual(json.loads(self.json_of("d.json")["defences"]),
                             [{"method": method, flags[0][2:]: int(flags[1])}])
            self.run_ok("predict", self.path(method), *images, "--output", self.path("logits"))
        self.run_ok("gradient", self.path("jpeg"), *images, "--output", self.path("g"))
        self.assertEqual(set(numbers(self.tensors("g")["gradient"])), {0.0})
        self.run_ok("gradient", self.path("jpeg"), *images, "--bpda", "--output", self.path("g"))
        self.assertGreater(max(numbers(self.tensors("g")["gradient"])), 0)
        attack = ("attack", "fgsm", self.path("bit-depth"), *images, "--eps", "0.3", "--output", self.path("a"))
        self.run_ok(*attack)
        self.assertEqual(set(numbers(self.tensors("a")["linf"])), {0.0})
        self.run_ok(*attack, "--bpda")
        self.assertGreater(min(numbers(self.tensors("a")["linf"])), 0.29)
        self.assert_error("nothing to stand in for", "attack", "fgsm", self.model, *images, "--bpda", "--output", self.path("a"))
        self.assert_error("has this defence already", "defend", "median", self.path("median"), "--output", self.path("m"))
        self.assert_error("does not apply to median", "defend", "median", self.model, "--bits", "2", "--output", self.path("m"))
        self.assert_error("which trains nothing", "defend", "jpeg", self.model, "--epochs", "2", "--output", self.path("m"))

    def test_trained_defences_from_a_spec_and_from_a_model(self):
        recipe = (*DATA, "--first", "60", "--epochs", "2", "--batch", "20", "--quiet")
        fast = self.run_ok("defend", "adversarial-training", self.model, *recipe, "--method", "fast", "--eps", "0.1",
                           "--watch", "10", "--output", self.path("fast"))
        self.assertIn("epoch 2: clean", fast)
        self.run_ok("defend", "distill", "1x28x28 flatten fc10", *recipe, "--output", self.path("distilled"))
        free = self.run_ok("defend", "adversarial-training", self.model, *recipe, "--method", "free", "--replays", "4", "--eps",
                           "0.1", "--watch", "0", "--output", self.path("free"), "--json", self.path("free.json"))
        self.assertIn("4 epochs", free)  # two, rounded up to a whole pass
        for name in ("fast", "free", "distilled"):
            self.run_ok("evaluate", self.path(name), *DATA, "--first", "10")
        for log in ("fast.csv", "distilled.csv", "distilled.start.csv", "distilled.teacher.csv"):
            self.assertTrue(os.path.exists(self.path(log)), log)
        self.assert_error("is no file, and no network either", "defend", "distill", "nonsense", *recipe, "--output",
                          self.path("n"))
        self.assert_error("--checkpoint: does not apply to distill", "defend", "distill", self.model, *recipe, "--checkpoint", "x",
                          "--output", self.path("none"))

    def test_a_training_of_no_epochs_claims_no_loss(self):
        none = (*DATA, "--first", "5", "--epochs", "0", "--quiet", "--output", self.path("n"), "--json", self.path("none.json"))
        out = self.run_ok("train", "1x28x28 flatten fc10", *none)
        self.assertIn("7850 parameters, 0 epochs, 0", out)
        self.assertEqual([self.json_of("none.json")[key] for key in ("epochs", "loss", "train_accuracy")], [0, None, None])
        out = self.run_ok("defend", "adversarial-training", "1x28x28 flatten fc10", *none)
        self.assertNotIn("accuracy", out)

    def test_data_without_a_test_split_are_not_validated_on(self):
        images = ("--first", "40", "--epochs", "1", "--quiet", "--output", self.path("n"))
        self.run_ok("attack", "random-noise", self.model, *DATA, "--first", "50", "--output", self.path("unsplit.safetensors"))
        net, unsplit = "1x28x28 flatten fc10", ("--data", self.path("unsplit.safetensors"))
        watched = ("defend", "adversarial-training", net, "--iters", "1", "--eps", "0.1")
        for data in (unsplit, (*DATA, "--split", "test")):
            self.assert_error(f"--validate: {data[1]} --split", "train", net, *data, *images, "--validate")
            self.assert_error(f"--watch: {data[1]} --split", *watched, *data, *images, "--watch", "10")
        self.assertNotIn("epoch 1", self.run_ok(*watched, *unsplit, *images))  # the default watches nothing
        self.assertIn("of 200 test images", self.run_ok(*watched, *DATA, *images))
        folder = "imagefolder:" + self.path("classes")
        for split, number in (("train", 4), ("test", 3)):
            for k in range(number):
                os.makedirs(self.path(f"classes/{split}/c{k % 2}"), exist_ok=True)
                with open(self.path(f"classes/{split}/c{k % 2}/{k}.png"), "wb") as file:
                    file.write(gray_png(4, 4, 60 * k))
        few = self.run_ok(*watched[:2], "1x4x4 flatten fc2", *watched[3:], "--data", folder, *images[2:])
        self.assertIn("of 3 test images", few)

    def test_a_hash_classifier_is_trained_and_can_be_inhibited(self):
        recipe = (*DATA, "--first", "60", "--batch", "20", "--quiet")
        spec = "1x28x28 flatten fc64 relu fc64 relu fc10"
        self.run_ok("train", spec, *recipe, "--epochs", "1", "--output", self.path("dense_net"))
        for name, flags in (("ruled", []), ("told", ["--rate", "1/64,1/16", "--hash-seed", "3", "--epochs", "1"])):
            self.run_ok("defend", "hash-classifier", self.path("dense_net"), *recipe, *flags, "--output", self.path(name))
        with open(self.path("ruled.csv")) as log:
            self.assertEqual(len(log.readlines()), 1 + 3)  # the paper's three epochs
        self.assertEqual([self.tensors(name)["3.weight"][1] for name in ("ruled", "told")], [[4], [64]])
        for gi in ("gi1", "gi2", "gi3"):
            self.run_ok("defend", gi, self.path("told"), "--layers", "last:2", "--output", self.path(gi))
            self.run_ok("evaluate", self.path(gi), *DATA, "--first", "10")
        self.assert_error("has this defence already", "defend", "hash-classifier", self.path("told"), *recipe, "--output",
                          self.path("n"))
        self.assert_error("does not apply to gi1", "defend", "gi1", self.model, "--hash-seed", "3", "--output", self.path("n"))

    def test_every_compression_writes_a_file_of_the_size_it_claims(self):
        runs = {"pruned": ["prune", "--density", "1/10"], "rounds": ["iterative-prune", "--rounds", "2", "--epochs", "1"],
                "tuned": ["prune", "--percent", "50", "--scope", "global", "--epochs", "1"],
                "fixed": ["fixed-point", "--width", "5", "--point", "1"],
                "lattice": ["fixed-point", "--width", "8", "--point", "2", "--activations", "no", "--epochs", "1"],
                "operated": ["dns", "--density", "1/10", "--epochs", "2", "--gamma", "0.5"],
                "cut": ["dns", "--c-rate", "0.5"],
                "regrown": ["dns", "--c-rate", "0.5", "--gradients", "kept", "--statistics", "update", "--mask-updates",
                            "epochs", "--iter-stop", "3", "--power", "2", "--epochs", "1"],
                "drawn": ["fixed-point", "--width", "5", "--point", "1", "--rounding", "stochastic", "--epochs", "1", "--device",
                          "cpu"],  # which alone rounds so
                "shared": ["kmeans", "--bits", "3", "--layers", "last:1"]}
        for name, (method, *flags) in runs.items():
            train = [*DATA, "--first", "64", "--quiet"] if "--epochs" in flags else []
            self.run_ok("compress", method, self.model, *flags, *train, "--output", self.path(name), "--json", self.path("c.json"))
            size = self.json_of("c.json")
            with open(self.path(name), "rb") as file:
                content = file.read()
            self.assertEqual(size["file_bytes"], len(content))
            self.assertEqual(size["bytes"], len(content) - 8 - struct.unpack("<Q", content[:8])[0], name)
            self.assertIn(str(size["bytes"]), self.run_ok("info", self.path(name)))
            self.run_ok("materialise", self.path(name), "--output", self.path("plain"))
            for model in (name, "plain"):
                self.run_ok("predict", self.path(model), *DATA, "--first", "5", "--output", self.path(model + "_logits"))
            for a, b in zip(numbers(self.tensors(name + "_logits")["logits"]), numbers(self.tensors("plain_logits")["logits"])):
                self.assertAlmostEqual(a, b, delta=1e-4)
        self.assertEqual(self.tensors("pruned")["7.weight.values"][1], [16])
        self.assertEqual(self.tensors("operated")["7.weight.values"][1], [16])
        self.assertIn("huffman_bytes", size)
        self.run_ok("attack", "fgsm", self.path("fixed"), *DATA, "--first", "5", "--output", self.path("attacked"))

    def test_every_round_of_iterative_pruning_has_its_log(self):
        rounds = ("compress", "iterative-prune", self.model, "--rounds", "2", "--epochs", "1", *DATA, "--first", "64", "--quiet")
        self.run_ok(*rounds, "--output", self.path("in_rounds"))
        self.run_ok(*rounds, "--output", self.path("in_rounds"), "--log", self.path("rounds.log.csv"))
        logs = [self.path(name) for name in ("in_rounds.round1.csv", "in_rounds.round2.csv", "rounds.log.round1.csv",
                                             "rounds.log.round2.csv")]
        rows = [pathlib.Path(log).read_text().splitlines()[1].split(",")[3] for log in logs]  # losses
        self.assertEqual(rows[:2], rows[2:])
        self.assertNotEqual(rows[0], rows[1])

    def test_compress_refuses_and_leaves_no_file(self):
        once = self.path("once")
        self.run_ok("compress", "prune", self.model, "--density", "0.5", "--output", once)
        with open(once, "rb") as file:
            before = file.read()
        for code, words, message in (
                (2, ["prune", self.model], "one of --threshold, --percent and --density is needed, 0 are given"),
                (2, ["prune", self.model, "--density", "0"], "--density"),
                (2, ["prune", self.model, "--density", "1.5"], "--density"),
                (2, ["dns", self.model], "one of --c-rate and --density is needed, 0 are given"),
                (2, ["dns", self.model, "--c-rate", "-1", "--density", "0.5"], "and --density is needed, 2 are given"),
                (2, ["dns", self.model, "--percent", "5"], "--percent: does not apply to dns, only to prune"),
                (2, ["prune", self.model, "--threshold", "0.1", "--scope", "global"], "--scope global: does not apply to --threshold"),
                (2, ["dns", self.model, "--c-rate", "1", "--scope", "global"], "--scope global: does not apply to --c-rate"),
                (2, ["prune", self.model, "--density", "0.5", "--gamma", "1"], "--gamma: does not apply to prune"),
                (1, ["dns", once, "--density", "0.1"], "is pruned, shared or in fixed point already"),
                (2, ["hash", self.model, "--rate", "1/8,0"], "--rate: '0' is not a rate in (0, 1]"),
                (1, ["hash", self.model, "--rate", "1/8,1/4"], "2 rates for the 3 layers of 'all'"),
                (2, ["fixed-point", self.model, "--width", "1"], "--width"),
                (2, ["fixed-point", self.model, "--width", "33"], "--width"),
                (2, ["kmeans", self.model, "--rate", "1/8"], "--rate: does not apply to kmeans"),
                (2, ["kmeans", self.model, "--resume", self.model], "--resume: is of a training, whose --epochs are needed"),
                (2, ["hash", self.model, "--lr", "0.1", "--ema", "0.9"], "--lr: is of a training, whose --epochs are needed"),
                (2, ["prune", self.model, "--density", "0.5", *DATA], "--data: is of a training, whose --epochs are needed"),
                (2, ["dns", self.model, "--density", "0.5", "--epochs", "0", "--validate"], "--validate: is of a training"),
                (2, ["fixed-point", self.model, "--width", "4", "--point", "5"], "point 5, 1 to the width of 4"),
                (2, ["kmeans", self.model, "--layers", "foo"], "--layers: 'foo' is not all or last:K"),
                (1, ["kmeans", self.model, "--layers", "last:7"], "layers 'last:7' of a model with 3"),
                (1, ["prune", once, "--density", "0.1"], "is pruned already"),
                (1, ["hash", once], "layer 0 (conv4k5p2) is pruned")):
            self.assert_error(message, "compress", *words, "--output", self.path("none"), code=code)
            self.assertFalse(os.path.exists(self.path("none")))
        self.assert_error("is pruned already", "compress", "prune", once, "--density", "0.1", "--output", once, code=1)
        with open(once, "rb") as file:
            self.assertEqual(file.read(), before)

    def test_hash_modes_are_kept_in_the_file(self):
        dense = self.path("all_dense")
        self.run_ok("materialise", self.model, "--output", dense)
        for mode, rate in (("strat", "1/5"), ("window", "1/5"), ("xxhash", "1/7")):
            self.run_ok("compress", "hash", dense, "--rate", rate, "--layers", "last:1", "--hash-mode", mode, "--output", self.path(mode))
            self.run_ok("predict", self.path(mode), *DATA, "--first", "2", "--output", self.path(mode + "_logits"))
        logits = [numbers(self.tensors(mode + "_logits")["logits"]) for mode in ("strat", "window")]
        self.assertEqual(len(logits[0]), 20)
        self.run_ok("compress", "hash", dense, "--rate", "1/7", "--layers", "last:1", "--hash-mode", "strat", "--output", self.path("rounded"))
        self.assertEqual(self.tensors("rounded")["7.weight"][1], [32])  # 23, rounded up

    def test_info_and_models(self):
        self.assertIn("fc16@1/4", self.run_ok("info", self.model, "--json", self.path("info.json")))
        self.assertEqual(self.json_of("info.json")["layers"][0]["token"], "conv4k5p2")
        plan = self.json_of("info.json")["plans"][0]
        self.assertEqual((plan["layer"], plan["K"]), (4, self.tensors("model.safetensors")["4.weight"][1][0]))
        self.assertEqual(plan["kernel"], min(plan["predicted_us"], key=plan["predicted_us"].get))
        one, many = (self.run_ok("info", self.model, "--batch", batch) for batch in ("1", "4096"))
        self.assertIn("at batch 1, forward in float32 (a prediction, nothing was run)", one)
        self.assertIn("small_batch, buckets in device memory; predicted: tile", one)
        self.assertIn(", tile; predicted: tile", many)
        self.assertIn("liu2018-mnist", self.run_ok("models"))

    def test_a_network_that_branches_is_trained_compressed_defended_and_attacked(self):
        spec = ("1x28x28 conv4k5p2s2nb:stem bn relu =x conv4k3p1:conv relu conv4k3p1 +x relu maxpool2 flatten "
                "fc16:fc.0 relu fc10:fc.2")
        net, some = self.path("branches.safetensors"), [*DATA, "--first", "12", "--quiet"]
        self.run_ok("train", spec, *DATA, "--first", "768", "--epochs", "2", "--batch", "32", "--threads", "1",
                    "--quiet", "--output", net)
        tensors, metadata = read_safetensors(net)
        self.assertEqual(metadata["spec"], spec)
        self.assertEqual(tensors["stem.weight"][1], [4, 1, 5, 5])
        self.assertIn("conv4k3p1:conv", self.run_ok("info", net))
        made = {"hash": ["compress", "hash", net, "--rate", "1/4"], "prune": ["compress", "prune", net, "--density", "0.5"],
                "kmeans": ["compress", "kmeans", net, "--bits", "4"],
                "fixed": ["compress", "fixed-point", net, "--width", "8", "--point", "2"],
                "gi1": ["defend", "gi1", net, "--eps", "0.05"], "augmented": ["defend", "logits-augmentation", net, "--eps", "2"]}
        for name, command in made.items():
            self.run_ok(*command, "--output", self.path(name))
            self.run_ok("attack", "bim", self.path(name), *some, "--iters", "2", "--output", self.path("attacked"))
        self.run_ok("materialise", self.path("hash"), "--output", self.path("dense"))
        self.run_ok("gradient", net, *some, "--jacobian", "logits", "--output", self.path("gradient"))

    def test_from_pytorch_takes_what_fits_and_nothing_else(self):
        script = ROOT / "scripts" / "from_pytorch.py"
        run = lambda spec, output, source=self.model, **options: subprocess.run(
            [sys.executable, script, source, self.path(output), "--spec", spec, "--hashgrad", BINARY], capture_output=True,
            text=True, **options)
        done = run(SPEC, "made.safetensors", umask=0o022)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(os.stat(self.path("made.safetensors")).st_mode & 0o777, 0o644)
        for name in ("model", "made"):
            self.run_ok("predict", self.path(name + ".safetensors"), *DATA, "--first", "3", "--output", self.path(name + "_logits"))
        self.assertEqual(self.tensors("made_logits"), self.tensors("model_logits"))
        done = run(SPEC.replace("fc10", "fc11"), "not_made.safetensors")
        self.assertEqual(done.returncode, 1)
        self.assertIn("tensor '7.bias' has shape [10], the spec asks for [11]", done.stderr)
        with open(self.model, "rb") as file:
            content = file.read()
        for cut in (0, 5, 100, len(content) - 4):
            with open(self.path("cut.safetensors"), "wb") as file:
                file.write(content[:cut])
            done = run(SPEC, "not_made.safetensors", self.path("cut.safetensors"))
            self.assertEqual((done.returncode, done.stderr.count("\n")), (1, 1), done.stderr)
            self.assertIn("cut.safetensors: ", done.stderr)
        for source, output in (("none.safetensors", "not_made"), (self.model, "nowhere/not_made")):
            self.assertIn("No such file or directory\n", run(SPEC, output, source).stderr)
            self.assertNotIn("Traceback", run(SPEC, output, source).stderr)
        self.assertFalse([name for name in os.listdir(self.folder) if name.startswith("not_made") or name.endswith(".part")])

    def test_from_pytorch_takes_tensors_that_were_trained(self):
        script = ROOT / "scripts" / "from_pytorch.py"
        os.mkdir(self.path("stub"))
        with open(self.path("stub/torch.py"), "w") as file:  # what the script uses of torch, with its rule for numpy()
            file.write("float16, bfloat16, float32, float64, int64 = range(5)\n"
                       "class Tensor:\n"
                       "    def __init__(self, *shape):\n"
                       "        self.dtype, self.shape, self.grad = float32, shape, True\n"
                       "    def detach(self):\n"
                       "        self.grad = False\n"
                       "        return self\n"
                       "    def contiguous(self): return self\n"
                       "    def numpy(self):\n"
                       "        assert not self.grad\n"
                       "        return self\n"
                       "    def tobytes(self): return bytes(40 if len(self.shape) == 1 else 31360)\n"
                       "def load(path, **_): return {'1.weight': Tensor(10, 784), '1.bias': Tensor(10)}\n")
        done = subprocess.run([sys.executable, script, "state.pt", self.path("trained_there"), "--spec", "1x28x28 flatten fc10",
                               "--hashgrad", BINARY], capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": self.path("stub")})
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_bench_checks_every_rung(self):
        done = subprocess.run([BINARY, "bench", "softmax", "--device", "emu", "--json", self.path("bench.json")],
                              capture_output=True, text=True)
        if "it is not in this build" in done.stderr:
            self.skipTest(done.stderr.strip())
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("emulated: checked, not timed", done.stdout)
        rungs = self.json_of("bench.json")["ladders"]["softmax"]["rungs"]
        self.assertGreaterEqual(len(rungs), 5)
        self.assertTrue(all(float(rung["error"]) <= float(rung["allowed"]) for rung in rungs))
        self.assert_error("there is no ladder 'softmacks' (available: sgemm, ", "bench", "softmacks", code=2)

    def test_bench_sets_the_cpu_engine_beside_its_floors(self):
        shown = self.run_ok("bench", "cpu", "--size", "smoke", "--network", "lenet5,hashed", "--threads", "1", "--json", self.path("roof.json"))
        self.assertIn("% of floor", shown)
        result = self.json_of("roof.json")
        self.assertEqual(list(result["kernels"]), ["lenet5", "hashed"])
        self.assertEqual(len(result["kernels"]["hashed"]), 6)
        self.assertTrue(all(rate["rate"] > 0 for rate in result["ceilings"]))
        self.assertTrue(all(row["ms"] > 0 for row in result["kernels"]["lenet5"]))
        for flags, message in ((["softmax", "--batch", "3"], "--batch: does not apply to softmax, only to cpu"),
                               (["cpu", "--rounds", "9"], "--rounds: does not apply to cpu"),
                               (["cpu", "--size", "small"], "--size: 'small' is for ladders"),
                               (["softmax", "--size", "smoke"], "--size: 'smoke' is for cpu")):
            self.assert_error(message, "bench", *flags, code=2)

    def test_interrupted_training_resumes_to_the_same_bits(self):
        def train(name, *more):
            return ["train", SPEC, *DATA, "--first", "800", "--epochs", "3", "--batch", "16", "--checkpoint-steps", "5",
                    "--quiet", "--output", self.path(name), *more]

        checkpoint = self.path("broken.checkpoint")
        stderr = self.interrupt(train("broken"), lambda: os.path.exists(checkpoint))
        self.assertEqual(stderr, f"hashgrad: interrupted; continue with --resume {checkpoint}\n")
        self.assertFalse(os.path.exists(self.path("broken")))
        self.assert_error("is of a run that was interrupted; go on with --resume", *train("broken"))
        self.run_ok(*train("broken", "--resume", checkpoint))
        self.run_ok(*train("whole"))
        self.assertEqual(self.tensors("broken"), self.tensors("whole"))

    def test_a_model_that_cannot_be_saved_leaves_its_checkpoint(self):
        net, images = "1x28x28 flatten fc10", [*DATA, "--first", "800", "--batch", "16", "--quiet"]
        for verb in (["train", net, "--epochs", "30"], ["compress", "prune", self.model, "--density", "0.5", "--epochs", "20"],
                     ["defend", "adversarial-training", net, "--iters", "1", "--watch", "0", "--epochs", "9"]):
            output = self.path("unsaved-" + verb[0])
            command = [*verb, *images, "--output", output]
            process = self.start(command, lambda: os.path.exists(output + ".checkpoint"))
            os.mkdir(output)
            stderr = process.communicate()[1]
            self.assertEqual((process.returncode, stderr.strip()),
                             (1, f"hashgrad: {output}: is not a regular file, nothing was written (the checkpoint "
                                 f"{output}.checkpoint is kept)"))
            os.rmdir(output)
            self.run_ok(*command, "--resume", output + ".checkpoint")
            self.assertFalse(os.path.exists(output + ".checkpoint"))
            saved = self.tensors("unsaved-" + verb[0])
            self.run_ok(*command)
            self.assertEqual(self.tensors("unsaved-" + verb[0]), saved)

    def test_interrupted_runs_of_several_trainings_resume_to_the_same_bits(self):
        net, images = "1x28x28 flatten fc10", [*DATA, "--first", "400", "--batch", "4", "--quiet", "--epochs", "30"]
        self.run_ok("train", net, *DATA, "--first", "64", "--epochs", "1", "--output", self.path("flat"))
        for verb, stages in ((["compress", "iterative-prune", self.path("flat"), "--rounds", "3"], ("round1", "round3")),
                             (["defend", "distill", net], ("teacher", ""))):  # its start is an epoch, over at once
            for stage in stages:  # the one that is interrupted
                output = self.path("staged-" + verb[1] + stage)
                running = output + ("." + stage if stage else "") + ".checkpoint"
                stderr = self.interrupt([*verb, *images, "--output", output], lambda: os.path.exists(running))
                self.assertEqual(stderr, f"hashgrad: interrupted; continue with --resume {running}\n")
                self.assert_error("is of a run that was interrupted", *verb, *images, "--output", output)
                self.assert_error("is no file of a run with --output", *verb, *images, "--output", output, "--resume", "x")
                other = [*verb, *images, "--lr", "0.01", "--output", output, "--resume", running]
                self.assert_error("was made with lr" if stage == "round1" else "is not of this run", *other)
                self.run_ok(*verb, *images, "--output", output, "--resume", running)
                left = [name for name in os.listdir(self.folder) if name.startswith(os.path.basename(output) + ".")]
                self.assertTrue(all(name.endswith(".csv") for name in left), left)
                whole = self.path("staged-whole")
                self.run_ok(*verb, *images, "--output", whole)
                self.assertEqual(self.tensors(output), self.tensors("staged-whole"))

    def test_ctrl_c_waits_for_a_model_that_is_being_saved(self):
        output = self.path("large")
        log = pathlib.Path(output + ".csv")
        is_being_saved = lambda: (any(name.startswith("large.tmp-") for name in os.listdir(self.folder)) and log.exists()
                                  and "\n1," in log.read_text())
        process = self.start(["train", "1x28x28 flatten fc2500 fc2500 fc10", *DATA, "--first", "1", "--epochs", "1", "--quiet",
                              "--output", output], is_being_saved)
        process.send_signal(signal.SIGINT)
        stderr = process.communicate()[1]
        self.assertEqual((process.returncode, stderr), (0, ""))
        self.assertEqual([name for name in os.listdir(self.folder) if name.startswith("large.")], ["large.csv"])
        self.assertEqual(self.tensors("large")["3.bias"][1], [10])

    def test_interrupted_attack_resumes_to_the_same_bits(self):
        def attack(name, *more):
            return ["attack", "pgd", self.model, *DATA, "--first", "100", "--iters", "200", "--no-early-stop", "--output",
                    self.path(name), *more]

        output = self.path("half")
        stderr = self.interrupt(attack("half", "--batch", "1", "--quiet"), lambda: os.path.exists(output + ".checkpoint"))
        self.assertEqual(stderr, f"hashgrad: interrupted; continue with --resume {output}.checkpoint\n")
        self.assertFalse(os.path.exists(output))
        self.assert_error("is of a run that was interrupted; go on with --resume", *attack("half", "--quiet"))
        resume = ["--resume", output + ".checkpoint", "--quiet"]
        self.assert_error("is of another run: its attack is Pgd(", *attack("half", "--eps", "0.1", *resume))
        self.assert_error("is of another run: its input is ", *attack("half", "--skip", "1", *resume))
        self.assert_error("is of another run: its bpda is false, not true", *attack("half", "--bpda", *resume))
        self.assert_error("is no checkpoint of such a run", *attack("half", "--resume", self.model, "--quiet"))
        self.assert_error("would be written over", *attack("half", "--resume", output, "--quiet"))
        self.run_ok(*attack("half", *resume))
        self.assertFalse(os.path.exists(output + ".checkpoint"))
        self.run_ok(*attack("whole", "--quiet"))
        self.assertEqual(self.tensors("half"), self.tensors("whole"))
        late = self.path("late")
        process = self.start(attack("late", "--batch", "2", "--quiet"), lambda: os.path.exists(late + ".checkpoint"))
        os.mkdir(late)
        stderr = process.communicate()[1].strip()
        self.assertEqual((process.returncode, stderr), (1, f"hashgrad: {late}: is not a regular file, nothing was written (the "
                                                           f"checkpoint {late}.checkpoint is kept)"))
        os.rmdir(late)
        self.run_ok(*attack("late", "--resume", late + ".checkpoint", "--quiet"))
        self.assertEqual(self.tensors("late"), self.tensors("whole"))

    def test_interrupted_report_goes_on(self):
        def report(name, *more):
            return ["report", self.model, *DATA, "--first", "12", "--threat", "linf:0.2", "--quiet", "--output", self.path(name),
                    "--json", self.path(name + ".json"), *more]

        kept = pathlib.Path(self.path("stopped/checkpoint"))
        stderr = self.interrupt(report("stopped"), lambda: kept.exists() and len(list(kept.glob("*.safetensors"))) > 3)
        self.assertRegex(stderr, "^hashgrad: interrupted; [0-9]+ attacks are kept, continue with --resume\n$")
        self.assert_error("is of a run that was interrupted; go on with --resume, or remove it", *report("stopped"))
        self.assert_error("is of another run: its seed is 0, not 1", *report("stopped", "--seed", "1", "--resume"))
        (kept / "mine").touch()
        self.run_ok(*report("stopped", "--resume"))
        self.assertEqual(os.listdir(kept), ["mine"])
        self.run_ok(*report("unbroken"))
        self.assertFalse(os.path.exists(self.path("unbroken/checkpoint")))
        for name in ("ensemble.csv", "checks.csv", "accuracy.csv"):
            self.assertEqual(*(pathlib.Path(self.path(folder), name).read_text() for folder in ("stopped", "unbroken")))

    def test_interrupted_substitute_resumes_to_the_same_bits(self):
        def substitute(name, *more):
            return ["substitute", self.model, "--spec", "1x28x28 flatten fc16 relu fc10", *DATA, "--first", "40", "--seeds", "16",
                    "--rounds", "5", "--epochs", "40", "--batch", "4", "--quiet", "--output", self.path(name), *more]

        output = self.path("stolen")
        stderr = self.interrupt(substitute("stolen"), lambda: os.path.exists(output + ".checkpoint"))
        self.assertEqual(stderr, f"hashgrad: interrupted; continue with --resume {output}.checkpoint\n")
        self.assertFalse(os.path.exists(output))
        self.assert_error("is of a run that was interrupted; go on with --resume", *substitute("stolen"))
        resume = ["--resume", output + ".checkpoint"]
        self.assert_error("is of another run: its seed is 0, not 1", *substitute("stolen", "--seed", "1", *resume))
        self.assert_error("is of another run: its training is rounds 5, ", *substitute("stolen", "--lambda", "0.2", *resume))
        self.assert_error("is no checkpoint of such a run", *substitute("stolen", "--resume", self.model))
        self.assertIn("256 queries", self.run_ok(*substitute("stolen", *resume)))
        self.assertFalse(os.path.exists(output + ".checkpoint"))
        self.run_ok(*substitute("unstolen"))
        self.assertEqual(self.tensors("stolen"), self.tensors("unstolen"))

    def test_interrupted_transfer_shows_what_is_finished(self):
        endless = "pgd:iters=1000000,no-early-stop"
        numbers = self.path("untransferred.json")
        process = subprocess.Popen([BINARY, "transfer", self.model, self.model, "--attack", "fgsm:eps=0.1", "--attack", endless,
                                    *DATA, "--first", "20", "--json", numbers, "--quiet"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

        def seconds_computed():
            with open(f"/proc/{process.pid}/stat") as file:
                return int(file.read().rsplit(")")[1].split()[11]) / os.sysconf("SC_CLK_TCK")

        while seconds_computed() < 2:  # a hundred times what fgsm takes
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate()
        self.assertEqual((process.returncode, stderr), (130, "hashgrad: interrupted; the table shows what was finished, to "
                                                             "fgsm:eps=0.1, crafted on target\n"))
        self.assertEqual(stdout.count("fgsm:eps=0.1"), 4)
        self.assertNotIn(endless, stdout)
        self.assertFalse(os.path.exists(numbers))

    def test_report_says_whether_to_believe_the_number(self):
        out = self.run_ok("report", self.model, *DATA, "--first", "12", "--threat", "linf:0.2", "--quiet", "--output",
                          self.path("robust"), "--json", self.path("robust.json"))
        numbers = self.json_of("robust.json")
        self.assertIn(numbers["reason"], out)
        self.assertLessEqual(numbers["robust_accuracy"], numbers["clean_accuracy"])
        self.assertIn("D16", numbers["checks"])
        names = set(os.listdir(self.path("robust")))
        for name in ("report.html", "report.md", "report.json", "checks.csv", "ensemble.csv", "curve.csv", "accuracy.csv"):
            self.assertIn(name, names)

    def test_attacks_and_reports_in_l1_and_l0(self):
        for norm, eps in (("l1", 5), ("l0", 7)):
            self.run_ok("attack", "pgd", self.model, *DATA, "--first", "12", "--norm", norm, "--eps", str(eps), "--iters",
                        "5", "--quiet", "--output", self.path("few.safetensors"), "--json", self.path("few.json"))
            lengths = self.tensors("few.safetensors")[norm]
            self.assertLessEqual(max(struct.unpack("12d", lengths[2])), eps)
            self.run_ok("report", self.model, *DATA, "--first", "12", "--threat", f"{norm}:{eps}", "--quiet", "--output",
                        self.path("few"), "--json", self.path("few.json"))
            with open(self.path("few/report.md")) as file:
                self.assertIn(f"threat   {norm} {eps}", file.read())

    def test_demo_writes_its_report(self):
        command = ["demo", *DATA, "--train-images", "64", "--epochs", "1", "--test-images", "12", "--attacked", "3",
                   "--inhibited", "3", "--quiet", "--output", self.path("demo")]
        out = self.run_ok(*command, "--json", self.path("demo.json"))
        self.assertIn("zero gradients", out)
        self.assertEqual(self.json_of("demo.json")["results"], self.json_of("demo/results.json"))
        cells = {cell: cell.stat().st_mtime_ns for cell in pathlib.Path(self.path("demo/cells")).iterdir()}
        lost = sorted(cells)[0]
        lost.unlink()
        self.run_ok(*command)  # goes on: only what is missing is measured
        again = {cell for cell, time in cells.items() if cell.stat().st_mtime_ns != time}
        self.assertEqual(again, {lost})
        names = set(os.listdir(self.path("demo")))
        for name in ("report.html", "results.json", "results.md", "f3_accuracy.csv", "f4_hfgsm.csv", "f5_hjsma.csv",
                     "f10a_inhibition.csv", "uncompressed.safetensors", "hashnet-1-64.safetensors", "f4_hfgsm.gp"):
            self.assertIn(name, names)
        with open(self.path("demo/report.html")) as file:
            page = file.read()
        self.assertNotIn("http://", page.replace("http://www.w3.org", ""))
        self.assertIn("data:image/png;base64,", page)

    def test_output_through_a_link_leaves_the_link(self):
        link, aim, handle = self.path("link"), self.path("aim"), self.path("handle")
        os.symlink("aim", link)
        os.symlink("/proc/self/fd/1", handle)
        for _ in range(2):  # a new file, then an old one
            self.run_ok("defend", "gi1", self.model, "--output", link)
            self.assertTrue(os.path.islink(link) and not os.path.islink(aim))
            self.run_ok("info", aim)
        with open(self.path("printed"), "w") as printed:
            done = subprocess.run([BINARY, "defend", "gi1", self.model, "--output", handle], stdout=printed,
                                  stderr=subprocess.PIPE, text=True)
        self.assertEqual((done.returncode, done.stderr),
                         (1, f"hashgrad: {handle}: is not a regular file, nothing was written\n"))
        self.assertTrue(os.path.islink(handle))

    def test_closed_pipe_ends_quietly(self):
        process = subprocess.Popen([BINARY, "models"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.close()
        self.assertEqual(process.stderr.read(), b"")
        process.stderr.close()
        self.assertEqual(process.wait(), 128 + signal.SIGPIPE)

    def test_a_run_outlives_its_progress_and_error_text(self):
        images = [*DATA, "--first", "12"]
        for code, words in ((1, ["info", "nofile"]), (2, ["nonsense"]), (2, ["info", "--nonsense"]),
                            (0, ["train", "1x28x28 flatten fc10", *images, "--epochs", "1", "--output", self.path("unseen")]),
                            (0, ["substitute", self.model, "--spec", "1x28x28 flatten fc10", *images, "--seeds", "4", "--rounds", "2",
                                 "--epochs", "1", "--output", self.path("unseen")]),
                            (0, ["demo", *DATA, "--train-images", "64", "--epochs", "1", "--test-images", "12", "--attacked", "3",
                                 "--inhibited", "3", "--output", self.path("unseen_demo")])):
            with open("/dev/full", "w") as full:
                done = subprocess.run([BINARY, *words], stdout=subprocess.DEVNULL, stderr=full, cwd=self.folder)
            self.assertEqual(done.returncode, code, words)

    def test_text_that_cannot_be_written_is_a_failure(self):
        for words in (["--help"], ["attack", "--help"], ["--version"], ["models"], ["info", self.model],
                      ["evaluate", self.model, *DATA, "--first", "12", "--quiet"]):
            with open("/dev/full", "w") as full:
                done = subprocess.run([BINARY, *words], stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, 1, words)
            self.assertRegex(done.stderr, "^hashgrad: standard output: cannot .*: No space left on device\n$", words)

    def test_a_reader_that_leaves_is_no_failure(self):
        for words in (["--version"], ["--help"], ["attack", "--help"], ["info", self.model]):
            read, write = os.pipe()
            os.close(read)
            done = subprocess.run([BINARY, *words], stdout=write, stderr=subprocess.PIPE)
            os.close(write)
            self.assertEqual((done.returncode, done.stderr), (0, b""), words)
        read, write = os.pipe()  # nor is one of the progress
        os.close(read)
        done = subprocess.run([BINARY, "attack", "fgsm", self.model, *DATA, "--first", "20", "--output", self.path("unseen")],
                              stdout=subprocess.DEVNULL, stderr=write)
        os.close(write)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(len(self.tensors("unseen")["success"][2]), 20)

    def test_bad_input_gets_one_line_and_leaves_nothing(self):
        done = subprocess.run([sys.executable, ROOT / "scripts" / "bad_input", "--binary", BINARY], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    BINARY = os.path.abspath(sys.argv.pop(1))
    unittest.main()
