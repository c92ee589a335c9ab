#!/usr/bin/env python3
"""The other sides of bench/compare_pytorch.py: the same work by PyTorch and by ONNX Runtime, a process each.

  bench/peers.py pytorch NET TASK BATCH THREADS WAY DEVICE MATH
  bench/peers.py export NET BATCH FILE                              the network as ONNX
  bench/peers.py onnxruntime FILE THREADS

Prints its name and the number of parameters, then answers as bench_nets does (bench/nets.cpp). WAY is one of PyTorch's ways of
doing the same, which compare_pytorch.py lists.
"""
import contextlib
import functools
import pathlib
import sys
import time

LINEAR, CONVOLUTIONS = ("hashed8", "hashed64", "dense"), ("conv1", "conv3")


def torch_network(net):
    """The module, layer by layer that of bench/nets.cpp, and the shape of an image."""
    import torch.nn as nn

    class Norm(nn.Module):
        def forward(self, x):
            return (x - 0.5) / 0.5

    def conv(i, o, k, padding=None):
        return [nn.Conv2d(i, o, k, padding=k // 2 if padding is None else padding), nn.ReLU(inplace=True)]

    def fc(i, o):
        return [nn.Linear(i, o), nn.ReLU(inplace=True)]

    pool = [nn.MaxPool2d(2)]
    flat = pool + [nn.Flatten()]
    if net == "a2":
        return nn.Sequential(*conv(1, 64, 5), *pool, *conv(64, 128, 5), *flat, *fc(6272, 512), nn.Linear(512, 10)), (1, 28, 28)
    if net == "b2":
        layers = conv(1, 64, 3) + conv(64, 128, 3) + pool + conv(128, 128, 3) + conv(128, 64, 3) + flat
        return nn.Sequential(*layers, *fc(3136, 256), *fc(256, 256), nn.Linear(256, 10)), (1, 28, 28)
    if net == "lenet5":
        layers = [Norm()] + conv(1, 20, 5, 0) + pool + conv(20, 50, 5, 0) + flat
        return nn.Sequential(*layers, nn.Dropout(0.5), *fc(800, 500), nn.Linear(500, 10)), (1, 28, 28)
    import torchvision
    if net == "vgg16":  # at 32x32 the average pooling in front of torchvision's classifier would only repeat values
        body = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"], batch_norm=True)
        classifier = fc(512, 512) + [nn.Dropout(0.5)] + fc(512, 512) + [nn.Dropout(0.5), nn.Linear(512, 10)]
        return nn.Sequential(body, nn.Flatten(), *classifier), (3, 32, 32)
    body = torchvision.models.resnet18(num_classes=10)
    body.conv1, body.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return body, (3, 32, 32)


@functools.lru_cache
def table():
    """w[flat] whose gradient is a scatter_add_, for which automatic differentiation takes slower ways."""
    import torch

    class Table(torch.autograd.Function):
        @staticmethod
        def forward(ctx, w, flat):
            ctx.save_for_backward(flat)
            ctx.buckets = w.numel()
            return w.index_select(0, flat)

        @staticmethod
        def backward(ctx, gradient):
            (flat,) = ctx.saved_tensors
            return torch.zeros(ctx.buckets).scatter_add_(0, flat, gradient.float()), None

    return Table


def linear_work(net, task, batch, way, autocast):
    """A layer 6272 -> 512 alone: the work, and its number of parameters."""
    import torch
    import torch.nn.functional as F

    n_in, n_out = 6272, 512
    count = n_in * n_out // (1 if net == "dense" else int(net[6:]))
    w, bias = torch.randn(count).mul_(0.01).requires_grad_(), torch.zeros(n_out, requires_grad=True)
    x, g = torch.rand(batch, n_in), torch.randn(batch, n_out)
    if net != "dense":
        index = torch.randint(count, (n_out, n_in))
        flat, sign = index.view(-1), torch.randint(2, (n_out, n_in)).float() * 2 - 1

    def weight():
        if net == "dense":
            return w.view(n_out, n_in)
        made = w[index] if way == "index" else w.index_select(0, flat) if way == "index_select" else table().apply(w, flat)
        return made.view(n_out, n_in) * sign

    def forward():
        with torch.inference_mode(), autocast():
            F.linear(x, weight(), bias)

    def train():
        a = x.detach().requires_grad_()
        with autocast():
            y = F.linear(a, weight(), bias)
        torch.autograd.grad(y, [w, bias, a], g.to(y.dtype))

    return {"forward": forward, "train": train}[task], count + n_out


def convolution_work(net, batch, layout, autocast):
    """The gradient of the images alone, of a forward pass that was made before: the work, and its number of parameters."""
    import torch
    import torch.nn.functional as F

    channels, kernel, size = {"conv1": (1, 5, 28), "conv3": (3, 3, 32)}[net]
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    x = torch.rand(batch, channels, size, size).contiguous(memory_format=memory).requires_grad_()
    w = torch.randn(64, channels, kernel, kernel).contiguous(memory_format=memory)
    with autocast():
        y = F.conv2d(x, w, padding=kernel // 2)
    g = torch.randn(y.shape).to(y.dtype).contiguous(memory_format=memory)
    return lambda: torch.autograd.grad(y, x, g, retain_graph=True), w.numel()


def compiled(model, task, x):
    import torch

    if x.is_cuda:
        return torch.compile(model, mode="reduce-overhead" if task in ("forward", "train") else "default")
    model.eval()
    with torch.no_grad():
        return torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(model, x)))


def network_work(net, task, batch, way, autocast):
    """The work, and its number of parameters."""
    import torch
    import torch.nn.functional as F

    layout, _, method = way.partition(" ")
    model, shape = torch_network(net)
    parameters = sum(p.numel() for p in model.parameters())
    x, y = torch.rand(batch, *shape), torch.randint(10, (batch,))
    if layout == "channels_last":
        model, x = model.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    if layout == "compiled":
        model = compiled(model, task, x)
    if task == "train":
        sgd = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

        def step():
            sgd.zero_grad(set_to_none=True)
            with autocast():
                loss = F.cross_entropy(model(x), y)
            loss.backward()
            sgd.step()

        return step, parameters
    model.eval()
    for p in model.parameters():
        p.requires_grad_(False)

    def forward():
        with torch.inference_mode(), autocast():
            model(x)

    def gradient(a):
        a = a.detach().requires_grad_()
        with autocast():
            loss = F.cross_entropy(model(a), y, reduction="sum")
        return torch.autograd.grad(loss, a)[0]

    def fgsm():
        return (x + 0.1 * gradient(x).sign_()).clamp_(0, 1)

    def pgd10():
        a = x
        for _ in range(10):
            a = a + 0.02 * gradient(a).sign_()
            a = torch.min(torch.max(a, x - 0.1), x + 0.1).clamp_(0, 1)
        return a

    def jacobian():
        a = x.detach().requires_grad_()
        with autocast():
            z = model(a)
        if method == "vmap":
            seeds = torch.eye(10).to(z.dtype)[:, None, :].expand(10, *z.shape)
            return torch.autograd.grad(z, a, seeds, is_grads_batched=True)[0].transpose(0, 1)
        return torch.stack([torch.autograd.grad(z[:, k].sum(), a, retain_graph=k < 9)[0] for k in range(10)], 1)

    return {"forward": forward, "fgsm": fgsm, "pgd10": pgd10, "jacobian": jacobian}[task], parameters


def resident(field):
    for line in open("/proc/self/status"):
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return 0.0


def serve(name, parameters, step, synchronize, peak):
    """Answers each line of standard input, a number of calls, with the milliseconds of one call and the peak memory."""
    print(f"{name}|{parameters}", flush=True)
    for line in sys.stdin:
        calls = int(line)
        start = time.perf_counter()
        for _ in range(calls):
            step()
        synchronize()
        print(f"{(time.perf_counter() - start) * 1e3 / calls:.5f} {peak():.1f}", flush=True)


def check_blas():
    """Debian's PyTorch multiplies with whatever libblas.so.3 is; the reference one, at 4 GFLOP/s, is no peer."""
    if "/blas/libblas.so" in pathlib.Path("/proc/self/maps").read_text():
        sys.exit("compare_pytorch.py: PyTorch multiplies with the reference BLAS; apt-get install libopenblas0-pthread")


def pytorch(net, task, batch, threads, way, device, math):
    import torch

    torch.set_num_threads(int(threads))
    gpu = device == "cuda"
    if gpu:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        torch.set_default_device(device)  # PyTorch 1 has no default device
    torch.rand(64, 64, device=device) @ torch.rand(64, 64, device=device)
    check_blas()
    idle = resident("VmRSS")
    torch.manual_seed(1)
    autocast = functools.partial(torch.autocast, device, dtype=torch.bfloat16) if math == "bf16" else contextlib.nullcontext
    if net in LINEAR:
        step, parameters = linear_work(net, task, int(batch), way, autocast)
    elif net in CONVOLUTIONS:
        step, parameters = convolution_work(net, int(batch), way, autocast)
    else:
        step, parameters = network_work(net, task, int(batch), way, autocast)
    serve(f"PyTorch {torch.__version__}", parameters, step, torch.cuda.synchronize if gpu else lambda: None,
          lambda: torch.cuda.max_memory_allocated() / 2**20 if gpu else resident("VmHWM") - idle)


def export(net, batch, file):
    import torch

    model, shape = torch_network(net)
    torch.onnx.export(model.eval(), torch.rand(int(batch), *shape), file)


def onnxruntime_session(file, threads):
    import numpy
    import onnxruntime

    idle = resident("VmRSS")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = int(threads), 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    images = session.get_inputs()[0]
    x = numpy.random.rand(*images.shape).astype("float32")
    serve(f"ONNX Runtime {onnxruntime.__version__}", "", lambda: session.run(None, {images.name: x}), lambda: None,
          lambda: resident("VmHWM") - idle)


if __name__ == "__main__":
    {"pytorch": pytorch, "export": export, "onnxruntime": onnxruntime_session}[sys.argv[1]](*sys.argv[2:])
