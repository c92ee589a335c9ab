#!/usr/bin/env python3
"""HopSkipJump beside Foolbox's, image by image (Foolbox's directions depend on the batch): L2 distances at about the same
number of queries.

usage: bench/parity/hop_skip_jump.py BINARY MODEL [DATA [IMAGES]]      needs foolbox==3.3.3; MODEL an MLP, `flatten fc.. relu fc..`
"""
import sys

import foolbox
import numpy as np
import torch
from common import hashgrad_attack, torch_model


class Counted(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model, self.queries = model, 0

    def forward(self, x):
        self.queries += len(x)
        return self.model(x)


def main(binary, path, data="synthetic-digits", images=20):
    print("steps   images  median L2: ours  Foolbox   ratio (median of images)   median queries: ours  Foolbox")
    for steps in (2, 8):
        ours = hashgrad_attack(binary, "hop-skip-jump", path, "--data", data, "--first", images, "--iters", steps)
        started = ours["status"] == 0  # not the images that are wrong already
        torch.manual_seed(0)
        np.random.seed(0)
        distances, queries = [], []
        for x, y in zip(ours["x"][started], ours["y"][started]):
            model = Counted(torch_model(path)).eval()
            attack = foolbox.attacks.HopSkipJumpAttack(steps=steps)
            _, adversarial, success = attack(foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), torch.tensor(x[None]),
                                             torch.tensor([int(y)]), epsilons=None)
            distances.append(float(torch.linalg.norm(adversarial - torch.tensor(x[None]))) if success else np.inf)
            queries.append(model.queries)
        mine = ours["l2"][started]
        print(f"{steps:5}  {started.sum():7}  {np.median(mine):15.4f}  {np.median(distances):7.4f}"
              f"  {np.median(mine / np.array(distances)):24.4f}  {np.median(ours['forwards'][started]):20.0f}  {np.median(queries):7.0f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
