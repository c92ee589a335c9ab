"""cw-l2 beside Foolbox's L2CarliniWagnerAttack, ead beside AdverTorch's ElasticNetL1Attack: the same images, targets and
settings; distances, images and success sets, one image at a time (both libraries let images that share a batch stop each
other early), then the time of one batch.

    pip install torch torchvision foolbox==3.3.3 advertorch==0.2.3
    python bench/parity/carlini_wagner.py build/hashgrad MODEL --data synthetic-digits --first 20

MODEL: `flatten`, `fc` and `relu` layers alone. Everything after MODEL goes to hashgrad: --dtype float64 compares in float64,
where all agree to 1e-7 or so. AdverTorch keeps ead's constant in float32, so it starts here from a power of two, which both hold
exactly: iterates that swing about the boundary, where the hinge turns on and off, tell 0.01 from its float32, and the L1 rule picks
among those (images then differ by a tenth of the range, distances by 2 %). In float32 they do so anyway.
"""
import sys
import time

import numpy as np
import torch

from common import hashgrad_attack, torch_model

STEPS, ITERS = 5, 200
CW = dict(c0=1e-3, lr=1e-2)
EAD = dict(c0=2**-7, lr=1e-2, beta=1e-2)


def cw_foolbox(model, x, labels, abort_early=True):
    import foolbox
    attack = foolbox.attacks.L2CarliniWagnerAttack(
        binary_search_steps=STEPS, steps=ITERS, stepsize=CW["lr"], initial_const=CW["c0"], abort_early=abort_early)
    goal = foolbox.criteria.TargetedMisclassification(labels)
    return attack.run(foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), x, goal)


def ead_advertorch(model, x, labels, rule):
    sys.modules["torch.autograd.gradcheck"].zero_gradients = None  # gone from torch; its FAB imports it
    from advertorch.attacks import ElasticNetL1Attack
    attack = ElasticNetL1Attack(
        model, 10, targeted=True, binary_search_steps=STEPS, max_iterations=ITERS, learning_rate=EAD["lr"],
        initial_const=EAD["c0"], beta=EAD["beta"], decision_rule=rule)
    return attack.perturb(x, labels)


def compare(name, model, ours, theirs, distance):
    x, targets = torch.tensor(ours["x"]), torch.tensor((ours["y"] + 1) % 10)
    theirs = torch.cat([theirs(model, x[i:i + 1], targets[i:i + 1]) for i in range(len(x))]).detach()
    reached = (model(theirs).argmax(1) == targets).numpy()
    success = ours["success"].astype(bool)
    far = distance((theirs - x).flatten(1).double()).numpy()
    mine = distance(torch.tensor(ours["x_adv"] - ours["x"]).flatten(1).double()).numpy()
    both = reached & success
    pixels = np.abs(theirs.numpy() - ours["x_adv"]).reshape(len(x), -1).max(1)[both]
    ratio = mine[both] / far[both]
    print(f"{name}: success {success.sum()} and {reached.sum()} of {len(x)}, sets {'equal' if (success == reached).all() else 'differ'}; "
          f"mean distance {mine[both].mean():.6f} and {far[both].mean():.6f}, ratio {ratio.min():.5f} to {ratio.max():.5f}; "
          f"largest pixel difference median {np.median(pixels):.1e}, worst {pixels.max():.1e}")


def main():
    binary, path, *data = sys.argv[1:]
    model = torch_model(path)
    if "float64" in data:
        model, torch.FloatTensor = model.double(), torch.DoubleTensor  # AdverTorch keeps distances in FloatTensor
    common = ["--target", "next", "--c-steps", STEPS, "--iters", ITERS]
    cw = ["cw-l2", path, *data, *common, "--compat", "foolbox3", "--c0", CW["c0"], "--lr", CW["lr"]]
    ead = ["ead", path, *data, *common, "--c0", EAD["c0"], "--lr", EAD["lr"], "--beta", EAD["beta"]]
    compare("cw-l2, Foolbox", model, hashgrad_attack(binary, *cw), cw_foolbox, lambda d: d.norm(dim=1))
    for rule in ("en", "l1"):
        compare(f"ead {rule}, AdverTorch", model, hashgrad_attack(binary, *ead, "--rule", rule),
                lambda m, x, y, r=rule.upper(): ead_advertorch(m, x, y, r),
                lambda d: d.abs().sum(1) if rule == "l1" else (d * d).sum(1) + EAD["beta"] * d.abs().sum(1))

    start = time.time()
    ours = hashgrad_attack(binary, *cw, "--abort-early", "no")
    middle = time.time()
    cw_foolbox(model, torch.tensor(ours["x"]), torch.tensor((ours["y"] + 1) % 10), abort_early=False)
    count = STEPS * ITERS
    print(f"one batch of {len(ours['x'])}, {count} iterations: hashgrad {(middle - start) / count * 1e3:.2f} ms, "
          f"Foolbox {(time.time() - middle) / count * 1e3:.2f} ms per iteration")


if __name__ == "__main__":
    main()
