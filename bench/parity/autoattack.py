#!/usr/bin/env python3
"""mim, deepfool, apgd, fab, square and autoattack beside torchattacks: the same weights, images, eps and steps.

  bench/parity/autoattack.py HASHGRAD MODEL DATA [--eps 0.1] [--iters 100] [--queries 1000] [--first 100]

MODEL is a `flatten fc relu fc` network, DATA what `hashgrad attack --data` takes. Prints per attack the share of
rows right before that withstand it, rows broken by one side alone, median distance of the rows both broke, seconds, and the
forward passes of ours. Needs torchattacks 3.5.1.
"""
import argparse
import time

import numpy as np
import torch
import torchattacks

from common import hashgrad_attack, torch_model


def torch_run(make, x, y):
    begin = time.time()
    adversarial = make()(x, y).detach()
    return adversarial, time.time() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hashgrad")
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--eps", type=float, default=0.1)
    parser.add_argument("--iters", type=int, default=100)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--first", type=int, default=100)
    a = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = torch_model(a.model)

    def ours(name, **settings):
        flags = [f for key, value in settings.items() for f in (f"--{key}", value)]
        begin = time.time()
        made = hashgrad_attack(a.hashgrad, name, a.model, "--data", a.data, "--split", "test", "--first", a.first,
                               "--batch", a.first, "--threads", 1, *flags)
        return made, time.time() - begin

    ta, eps, iters = torchattacks, a.eps, a.iters
    rows = [
        ("mim", {"eps": eps, "iters": 10, "step": 0.02}, "linf", lambda: ta.MIFGSM(net, eps, 0.02, 10, 1.0)),
        ("deepfool", {"iters": 50}, "l2", lambda: ta.DeepFool(net, 50, 0.02)),
        ("apgd-ce", {"eps": eps, "iters": iters}, "linf", lambda: ta.APGD(net, "Linf", eps, iters, 1, 0, "ce")),
        ("apgd-dlr", {"eps": eps, "iters": iters}, "linf", lambda: ta.APGD(net, "Linf", eps, iters, 1, 0, "dlr")),
        ("apgd-t", {"eps": eps, "iters": iters}, "linf", lambda: ta.APGDT(net, "Linf", eps, iters, 1, 0)),
        ("fab", {"eps": eps, "iters": iters}, "linf", lambda: ta.FAB(net, "Linf", eps, iters)),
        ("fab-t", {"eps": eps, "iters": iters}, "linf",
         lambda: ta.FAB(net, "Linf", eps, iters, multi_targeted=True)),
        ("fab", {"iters": iters, "norm": "l2"}, "l2", lambda: ta.FAB(net, "L2", 10.0, iters)),
        ("square", {"eps": eps, "iters": a.queries}, "linf",
         lambda: ta.Square(net, "Linf", eps, a.queries, resc_schedule=False)),
        ("square", {"eps": 10 * eps, "iters": a.queries, "norm": "l2"}, "l2",
         lambda: ta.Square(net, "L2", 10 * eps, a.queries, resc_schedule=False)),
        ("autoattack", {"eps": eps, "queries": a.queries}, "linf", None),
    ]
    print("attack    norm  withstand: ours theirs | broken by ours, theirs alone | median: ours theirs | s: ours theirs | forwards")
    for name, settings, norm, make in rows:
        made, seconds = ours(name, **settings)
        x, y = torch.tensor(made["x"]), torch.tensor(made["y"])
        right = (net(x).argmax(1) == y).numpy()
        broken = (made["success"] == 1) & right
        text = f"{name:<11}{norm:<5}{1 - broken.sum() / right.sum():14.3f}"
        forwards = made["forwards"][right].mean()
        if make is None:
            print(f"{text} {'':>52} {seconds:10.1f} {'':>8} {forwards:9.1f}")
            continue
        adversarial, peer_seconds = torch_run(make, x, y)
        peer = (net(adversarial).argmax(1) != y).numpy() & right
        difference = (adversarial - x).flatten(1)
        length = (difference.abs().max(1)[0] if norm == "linf" else difference.norm(dim=1)).numpy()
        both = broken & peer
        medians = [np.median(v[both]) if both.any() else float("nan") for v in (made[norm], length)]
        print(f"{text} {1 - peer.sum() / right.sum():6.3f} | {(broken & ~peer).sum():10} {(peer & ~broken).sum():10} | "
              f"{medians[0]:10.4f} {medians[1]:8.4f} | {seconds:6.1f} {peer_seconds:6.1f} | {forwards:9.1f}")


if __name__ == "__main__":
    main()
