#!/usr/bin/env python3
"""What every verb promises a script: help, one line for an error, outputs checked before the work, names of any bytes, closed
streams, records, bad input.

usage: tests/cli_contract_test.py BINARY [unittest arguments]
"""
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import unittest

from command_testing import BINARY, Command, DATA, ROOT, SPEC, read_safetensors, write_images


class Contract(Command):
    def test_help_names_every_verb_and_flag(self):
        verbs = ["demo", "train", "evaluate", "predict", "gradient", "attack", "substitute", "transfer",
                 "compress", "defend", "materialise",
                 "info", "models", "report"]
        text = self.run_ok("--help")
        for verb in verbs:
            self.assertIn(verb, text)
            help_text = self.run_ok(verb, "--help")
            self.assertEqual(self.run_ok(verb, "-h"), help_text)
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
    unittest.main()
