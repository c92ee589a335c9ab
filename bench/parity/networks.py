#!/usr/bin/env python3
"""Networks by name beside torchvision's: logits and input gradients, with the same weights, through files.

  python bench/parity/networks.py build/hashgrad            a table in Markdown; fails where the two differ
  python bench/parity/networks.py --golden                  tests/networks_golden.h, from torchvision alone

Weights and images are a fixed function of the tensor's place (see filled()), so that the golden numbers can be held against
without torch (tests/nn_golden_test.cpp). Needs torch and torchvision.
"""
import copy
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torchvision.models as models

from common import read_safetensors, write_safetensors

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ALLOWED = {"float32": 1e-4, "float64": 1e-9}
CLASS = 3  # whose score is differentiated


def mixed(x):
    """Bits that look random, of 32-bit numbers: the finaliser of Wellons' lowbias32."""
    x = x.astype(np.uint32)
    with np.errstate(over="ignore"):
        x ^= x >> np.uint32(16)
        x *= np.uint32(0x7FEB352D)
        x ^= x >> np.uint32(15)
        x *= np.uint32(0x846CA68B)
        x ^= x >> np.uint32(16)
    return x


def uniform(number, shape):
    """In [0,1): element i of tensor `number`."""
    start = mixed(np.array([number + 1]))[0]
    return (mixed(np.arange(np.prod(shape, dtype=np.int64)) ^ start) / 2.0**32).reshape(shape)


def filled(name, number, shape):
    u = uniform(number, shape)
    if name.endswith("running_var"):
        return 0.5 + u
    if name.endswith(("running_mean", "bias")):
        return 0.2 * (u - 0.5)
    if len(shape) == 1:
        return 0.75 + 0.5 * u
    return (u - 0.5) * np.sqrt(24.0 / np.prod(shape[1:]))  # the variance of He et al.


def fill(net):
    """Tensors are numbered in the order of their names."""
    state = net.state_dict()
    for number, name in enumerate(sorted(n for n in state if not n.endswith("num_batches_tracked"))):
        state[name].copy_(torch.tensor(filled(name, number, tuple(state[name].shape))))


def images(size, number=10**6):
    return torch.tensor(uniform(number, (2, 3, size, size)))


def resnet(depth, size, cifar=True, hidden=0):
    net = getattr(models, f"resnet{depth}")(num_classes=10)
    if cifar:
        net.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        net.maxpool = torch.nn.Identity()
    if hidden:
        net.fc = torch.nn.Sequential(torch.nn.Linear(net.fc.in_features, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 10))
    return net, size


def vgg(name, size, hidden):
    net = getattr(models, name)(num_classes=10)
    net.avgpool = torch.nn.Identity()  # torchvision's repeats a pixel 49 times
    if hidden == 0:
        net.classifier = torch.nn.Linear(512, 10)
    else:
        for i, (a, b) in ((0, (512, hidden)), (3, (hidden, hidden)), (6, (hidden, 10))):
            net.classifier[i] = torch.nn.Linear(a, b)
    return net, size


def inception(size):
    return models.inception_v3(num_classes=10, aux_logits=False, init_weights=False, transform_input=False), size


GOLDEN = {
    "resnet18(size=16)": lambda: resnet(18, 16),
    "resnet50(stem=imagenet,size=32,classes=10)": lambda: resnet(50, 32, cifar=False),
    "vgg11(bn,fc=64)": lambda: vgg("vgg11_bn", 32, 64),
    "inception-v3(size=75,classes=10)": lambda: inception(75),
}
NETWORKS = {
    **GOLDEN,
    "resnet18(stem=imagenet,size=64,classes=10)": lambda: resnet(18, 64, cifar=False),
    "resnet34": lambda: resnet(34, 32),
    "resnet34(fc=512)": lambda: resnet(34, 32, hidden=512),
    "resnet50": lambda: resnet(50, 32),
    "resnet101(size=16)": lambda: resnet(101, 16),
    "vgg13(fc=0)": lambda: vgg("vgg13", 32, 0),
    "vgg16(fc=512)": lambda: vgg("vgg16", 32, 512),
    "vgg19(bn,fc=512)": lambda: vgg("vgg19_bn", 32, 512),
    "inception-v3(size=96,classes=10)": lambda: inception(96),
}


def by_torch(net, x):
    """Scores [N,K], and the gradient of the sum of the scores of CLASS."""
    x = x.clone().requires_grad_()
    scores = net(x)
    return scores.detach().numpy(), torch.autograd.grad(scores[:, CLASS].sum(), x)[0].numpy()


def made(name):
    net, size = NETWORKS[name]()
    net = net.double().eval()
    fill(net)
    return net, size


def rounded(net, number):
    """The same network after errors of the size of float32's in every weight."""
    twin = copy.deepcopy(net)
    with torch.no_grad():
        for i, weights in enumerate(twin.parameters()):
            weights *= 1 + 1e-6 * torch.tensor(uniform(1000 * number + i, tuple(weights.shape)) - 0.5)
    return twin


def steady(net, size, wanted=2):
    """Images whose gradient such errors leave as it is: elsewhere a unit stands so close to its kink that rounding decides which
    way it goes, in any program."""
    twins, found = [rounded(net, k) for k in range(1, 4)], []
    for number in range(10**6, 10**6 + 100):
        x = images(size, number)[:1]
        gradient = by_torch(net, x)[1]
        if all(np.abs(by_torch(twin, x)[1] - gradient).max() < 1e-4 * np.abs(gradient).max() for twin in twins):
            found.append(x)
        if len(found) == wanted:
            return torch.cat(found)
    sys.exit("no images found whose gradient withstands rounding")


def by_hashgrad(binary, model, file, dtype, folder):
    flags = ["--input", file, "--dtype", dtype, "--quiet", "--output", f"{folder}/answer"]
    for command in (["predict", model], ["gradient", model, "--loss", f"logit:{CLASS}"]):
        subprocess.run([binary, *command, *flags], check=True, stdout=subprocess.DEVNULL)
        yield read_safetensors(f"{folder}/answer")[0][{"predict": "logits"}.get(command[0], command[0])].astype(np.float64)


def compare(binary, name, folder):
    """{dtype: (scores, gradient)}: the largest difference, relative to the largest element."""
    net, size = made(name)
    x = steady(net, size)
    torch.save(net.state_dict(), f"{folder}/state.pt")
    subprocess.run([sys.executable, ROOT / "scripts" / "from_pytorch.py", f"{folder}/state.pt", f"{folder}/model", "--spec", name,
                    "--hashgrad", binary], check=True, stdout=subprocess.DEVNULL)
    write_safetensors(f"{folder}/images", {"x": x.numpy(), "y": np.zeros(len(x), np.int64)})
    theirs = by_torch(net, x)
    return {dtype: [np.abs(a - b).max() / np.abs(b).max()
                    for a, b in zip(by_hashgrad(binary, f"{folder}/model", f"{folder}/images", dtype, folder), theirs)]
            for dtype in ALLOWED}


def golden():
    lines = ["// Scores and input gradients of networks by torchvision, in float64. Written by bench/parity/networks.py",
             "// --golden, which also says how weights and images are filled.", "#pragma once", "", "#include <string>",
             "#include <vector>", "", "namespace hashgrad::testing {", "", "struct Golden {", "  std::string network;",
             "  std::vector<double> scores;    // of image 0", f"  std::vector<double> gradient;  // of score {CLASS}: the first pixels of image 0",
             "  double gradient_sum;           // of its absolute values, both images", "};", "", "// clang-format off",
             "const std::vector<Golden> golden_networks = {"]
    for name in GOLDEN:
        net, size = made(name)
        scores, gradient = by_torch(net, images(size))
        row = lambda values: "{" + ", ".join(f"{v:.17g}" for v in values) + "}"
        lines.append(f'    {{"{name}",\n     {row(scores[0])},\n     {row(gradient[0].ravel()[:6])},\n     {np.abs(gradient).sum():.17g}}},')
    lines += ["};", "// clang-format on", "", "}  // namespace hashgrad::testing", ""]
    (ROOT / "tests" / "networks_golden.h").write_text("\n".join(lines))


def main():
    if sys.argv[1:] == ["--golden"]:
        return golden()
    binary, *chosen = sys.argv[1:]
    print(f"torch {torch.__version__}; largest difference relative to the largest element, 2 images near which "
          "no unit of the network stands on its kink.\n")
    print("| network | " + " | ".join(f"{what}, {dtype}" for dtype in ALLOWED for what in ("scores", "gradient")) + " |")
    print("|---|" + "---|" * 2 * len(ALLOWED))
    far = []
    for name in chosen or NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            found = compare(binary, name, folder)
        print(f"| `{name}` | " + " | ".join(f"{e:.1e}" for dtype in ALLOWED for e in found[dtype]) + " |", flush=True)
        far += [name for dtype, allowed in ALLOWED.items() if not max(found[dtype]) <= allowed]
    if far:
        sys.exit("differ by more than allowed: " + ", ".join(far))


if __name__ == "__main__":
    main()
