#!/usr/bin/env python3
"""Gradients, attacks and reports from the shell; what they write read back.

usage: tests/cli_attacks_test.py BINARY [unittest arguments]
"""
import json
import os
import pathlib
import struct
import unittest

from command_testing import Command, DATA, SPEC, numbers


class Attacks(Command):
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


if __name__ == "__main__":
    unittest.main()
