#!/usr/bin/env python3
"""Attacks without random numbers beside Foolbox, torchattacks and AdverTorch, image by image: gradients, images, distances and
success sets, in float64, so that what differs is the method and not the rounding.

  python bench/parity/steps.py build/hashgrad MODEL IMAGES.safetensors

MODEL holds dense conv, maxpool, flatten, fc and relu layers; IMAGES x and y, classified rightly. Prints a table in Markdown.
Needs torch, foolbox 3.3.3, torchattacks 3.5.1, advertorch 0.2.3.
"""
import subprocess
import sys
import tempfile

import numpy as np
import torch

from common import hashgrad_attack, read_safetensors, torch_model

EPS, STEP, ITERS = 0.1, 0.02, 10
# Our mim leaves a row at its first success: a budget under which (nearly) none succeeds shows all its steps.
SMALL = ["--eps", 0.02, "--step", 0.004, "--iters", 10, "--decay", 1]


def foolbox_run(attack, model, x, y, **budget):
    import foolbox
    net = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    return attack(foolbox.attacks).run(net, x, foolbox.criteria.Misclassification(y), **budget)


def advertorch_attacks():
    import torch.autograd.gradcheck  # noqa: F401
    sys.modules["torch.autograd.gradcheck"].zero_gradients = None  # gone from torch; its FAB imports it
    from advertorch import attacks
    return attacks


def torchattacks_run(make, model, x, y):
    import torchattacks
    return make(torchattacks)(x, y)


def rows(model):
    """(our attack, flags, library, what it is called there, the call)"""
    bim = ["--eps", EPS, "--step", STEP, "--iters", ITERS, "--no-early-stop"]
    fixed = dict(epsilon=EPS)
    return [
        ("fgsm", ["--eps", EPS], "Foolbox", "LinfFastGradientAttack",
         lambda x, y: foolbox_run(lambda a: a.LinfFastGradientAttack(), model, x, y, **fixed)),
        ("fgsm", ["--eps", EPS], "torchattacks", "FGSM",
         lambda x, y: torchattacks_run(lambda t: t.FGSM(model, eps=EPS), model, x, y)),
        ("fgsm", ["--eps", EPS], "AdverTorch", "GradientSignAttack",
         lambda x, y: advertorch_attacks().GradientSignAttack(model, eps=EPS).perturb(x, y)),
        ("fgm", ["--eps", 1], "Foolbox", "L2FastGradientAttack",
         lambda x, y: foolbox_run(lambda a: a.L2FastGradientAttack(), model, x, y, epsilon=1)),
        ("bim", bim, "Foolbox", "LinfBasicIterativeAttack",
         lambda x, y: foolbox_run(lambda a: a.LinfBasicIterativeAttack(abs_stepsize=STEP, steps=ITERS), model, x, y, **fixed)),
        ("bim", bim, "torchattacks", "PGD without random start",
         lambda x, y: torchattacks_run(lambda t: t.PGD(model, eps=EPS, alpha=STEP, steps=ITERS, random_start=False), model, x, y)),
        ("bim", bim, "AdverTorch", "LinfBasicIterativeAttack",
         lambda x, y: advertorch_attacks().LinfBasicIterativeAttack(model, eps=EPS, eps_iter=STEP, nb_iter=ITERS).perturb(x, y)),
        ("bim", ["--norm", "l2", "--eps", 1, "--step", 0.2, "--iters", ITERS, "--no-early-stop"], "Foolbox", "L2BasicIterativeAttack",
         lambda x, y: foolbox_run(lambda a: a.L2BasicIterativeAttack(abs_stepsize=0.2, steps=ITERS), model, x, y, epsilon=1)),
        ("mim", SMALL, "AdverTorch", "LinfMomentumIterativeAttack",
         lambda x, y: advertorch_attacks().LinfMomentumIterativeAttack(
             model, eps=0.02, eps_iter=0.004, nb_iter=ITERS, decay_factor=1.).perturb(x, y)),
        ("mim", SMALL, "torchattacks", "MIFGSM",
         lambda x, y: torchattacks_run(lambda t: t.MIFGSM(model, eps=0.02, alpha=0.004, steps=ITERS, decay=1.), model, x, y)),
        ("deepfool", [], "Foolbox", "L2DeepFoolAttack",
         lambda x, y: foolbox_run(lambda a: a.L2DeepFoolAttack(steps=50, candidates=10, overshoot=0.02, loss="logits"), model, x, y)),
        ("deepfool", ["--norm", "linf"], "Foolbox", "LinfDeepFoolAttack",
         lambda x, y: foolbox_run(lambda a: a.LinfDeepFoolAttack(steps=50, candidates=10, overshoot=0.02, loss="logits"), model, x, y)),
        ("jsma", ["--target", "next", "--theta", 1, "--gamma", 0.1, "--on", "logits"], "AdverTorch", "JacobianSaliencyMapAttack",
         lambda x, y: advertorch_attacks().JacobianSaliencyMapAttack(model, 10, theta=1., gamma=0.1).perturb(x, (y + 1) % 10)),
        ("jsma", ["--target", "next", "--compat", "advertorch", "--gamma", 0.1], "AdverTorch", "JacobianSaliencyMapAttack",
         lambda x, y: advertorch_attacks().JacobianSaliencyMapAttack(model, 10, theta=1., gamma=0.1).perturb(x, (y + 1) % 10)),
    ]


def gradients(binary, path, images, model, x, y):
    """Largest difference of input gradients from torch.autograd's in float64, relative to the largest element of each image's."""
    found = {}

    def by_torch(net, images):
        images = images.clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(net(images), y, reduction="sum")
        return torch.autograd.grad(loss, images)[0].double().numpy()

    def flat(a):
        return np.abs(a).reshape(len(a), -1).max(1)

    def apart(gradient):
        return (flat(gradient - theirs) / np.maximum(flat(theirs), 1e-300)).max()

    theirs = by_torch(model, x)
    found["torch's own in float32"] = apart(by_torch(torch_model(path).float(), x.float()))
    for dtype in ("float32", "float64"):
        with tempfile.NamedTemporaryFile() as file:
            subprocess.run([binary, "gradient", path, "--input", images, "--loss", "ce", "--dtype", dtype, "--output", file.name,
                            "--quiet"], check=True, stdout=subprocess.DEVNULL)
            ours = read_safetensors(file.name)[0]["gradient"].astype(np.float64)
        found["ours in " + dtype] = apart(ours)
    return found


def main():
    binary, path, images = sys.argv[1:4]
    torch.FloatTensor = torch.DoubleTensor  # AdverTorch keeps distances in FloatTensor
    model = torch_model(path).double()
    tensors, _ = read_safetensors(images)
    x, y = torch.tensor(tensors["x"]).double(), torch.tensor(tensors["y"])
    relative = gradients(binary, path, images, model, x, y)
    print(f"Input gradients of the cross-entropy beside torch.autograd in float64, {len(x)} images, largest difference relative to "
          f"the image's largest element: {', '.join(f'{who} {much:.1e}' for who, much in relative.items())}.\n")
    print("| attack | beside | success, ours and theirs | sets | largest pixel difference: median, worst | images equal to 1e-5 | "
          "median distance, ours and theirs |\n|---|---|---|---|---|---|---|")
    for name, flags, library, title, call in rows(model):
        ours = hashgrad_attack(binary, name, path, "--input", images, *flags, "--dtype", "float64")
        theirs = call(x.clone(), y).detach()
        goal = lambda a: ((model(a).argmax(1) == (y + 1) % 10) if name == "jsma" else (model(a).argmax(1) != y)).numpy()
        mine = torch.tensor(ours["x_adv"])
        reached = [ours["success"].astype(bool), goal(theirs)]
        both = reached[0] & reached[1]
        pixels = (mine - theirs).abs().flatten(1).max(1).values.numpy()
        order = 0 if name == "jsma" else float("inf") if "linf" in flags or name in ("fgsm", "mim") or (
            name == "bim" and "--norm" not in flags) else 2
        middle = lambda values: f"{np.median(values):.6f}" if len(values) else "none"
        far = [(a - x).flatten(1).norm(p=order, dim=1).numpy()[both] for a in (mine, theirs)]
        print(f"| {name} {' '.join(map(str, flags))} | {library} {title} | {reached[0].sum()}, {reached[1].sum()} of {len(x)} | "
              f"{'equal' if (reached[0] == reached[1]).all() else 'differ'} | {np.median(pixels):.1e}, {pixels.max():.1e} | "
              f"{(pixels < 1e-5).mean() * 100:.0f} % | {middle(far[0])}, {middle(far[1])} |")


if __name__ == "__main__":
    main()
