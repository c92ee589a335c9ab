#!/usr/bin/env python3
"""Ctrl-C: nothing is lost, and what goes on ends in the same bits.

usage: tests/cli_interrupt_test.py BINARY [unittest arguments]
"""
import os
import pathlib
import signal
import subprocess
import time
import unittest

from command_testing import BINARY, Command, DATA, SPEC, numbers


class Interrupt(Command):
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


if __name__ == "__main__":
    unittest.main()
