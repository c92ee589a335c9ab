#!/usr/bin/env python3
"""Models from the shell: trained, asked, compressed, defended, taken over from PyTorch; the files read back.

usage: tests/cli_models_test.py BINARY [unittest arguments]
"""
import os
import pathlib
import struct
import subprocess
import sys
import unittest

from command_testing import BINARY, Command, DATA, ROOT, SPEC, gray_png, numbers, read_safetensors


class Models(Command):
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


if __name__ == "__main__":
    unittest.main()
