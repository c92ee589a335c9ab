"""What the comparisons with Python libraries share: safetensors, a model as a torch module, and the command."""
import json
import os
import re
import struct
import subprocess
import tempfile

import numpy as np
import torch

TYPES = {"F32": np.float32, "F64": np.float64, "I64": np.int64, "U8": np.uint8}


def read_safetensors(path):
    """{name: array} and the metadata."""
    with open(path, "rb") as file:
        content = file.read()
    length = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8:8 + length]), content[8 + length:]
    metadata = header.pop("__metadata__", {})
    return {name: np.frombuffer(data[slice(*t["data_offsets"])], TYPES[t["dtype"]]).reshape(t["shape"])
            for name, t in header.items()}, metadata


def write_safetensors(path, tensors):
    """Of {name: array}."""
    header, blob = {}, b""
    for name, t in tensors.items():
        dtype = next(key for key, of in TYPES.items() if of == t.dtype)
        header[name] = {"dtype": dtype, "shape": t.shape, "data_offsets": [len(blob), len(blob) + t.nbytes]}
        blob += t.tobytes()
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + blob)


def torch_layer(word, tensors):
    """The layer of one word of a spec; `tensors`: its parameters."""
    parts = re.fullmatch(r"conv(\d+)k(\d+)(?:p(\d+))?(?:s(\d+))?|maxpool(\d+)|fc(\d+)|relu|flatten", word)
    if parts is None:
        raise SystemExit(f"{word}: not a layer that these comparisons know")
    out, kernel, padding, stride, pool, _ = (int(p or 0) for p in parts.groups())
    if word in ("relu", "flatten"):
        return {"flatten": torch.nn.Flatten, "relu": torch.nn.ReLU}[word]()
    if pool:
        return torch.nn.MaxPool2d(pool)
    weight, bias = (torch.tensor(tensors[name]) for name in ("weight", "bias"))
    layer = (torch.nn.Conv2d(weight.shape[1], out, kernel, stride or 1, padding, dtype=weight.dtype) if out else
             torch.nn.Linear(*reversed(weight.shape), dtype=weight.dtype))
    layer.weight.data, layer.bias.data = weight, bias
    return layer


def torch_model(path):
    """The model of a file whose spec has dense conv, maxpool, flatten, fc and relu layers."""
    tensors, metadata = read_safetensors(path)
    words = metadata["spec"].split()[1:]
    return torch.nn.Sequential(*[
        torch_layer(word, {n: tensors.get(f"{i}.{n}") for n in ("weight", "bias")}) for i, word in enumerate(words)]).eval()


def hashgrad_attack(binary, *arguments):
    """The tensors that `hashgrad attack ARGUMENTS` writes."""
    with tempfile.TemporaryDirectory() as folder:
        output = os.path.join(folder, "output")
        subprocess.run([binary, "attack", *map(str, arguments), "--quiet", "--output", output], check=True,
                       stdout=subprocess.DEVNULL)
        return read_safetensors(output)[0]
