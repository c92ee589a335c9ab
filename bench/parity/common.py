"""What the comparisons with Python libraries share: reading safetensors, a model as a torch module, and the command."""
import json
import os
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


def torch_mlp(path):
    """The model of a file whose spec is `CxHxW flatten fcN relu ... fcK`."""
    tensors, metadata = read_safetensors(path)
    layers = []
    for number, word in enumerate(metadata["spec"].split()[1:]):
        if word.startswith("fc"):
            weight, bias = (torch.tensor(tensors[f"{number}.{name}"]) for name in ("weight", "bias"))
            layer = torch.nn.Linear(*reversed(weight.shape), dtype=weight.dtype)
            layer.weight.data, layer.bias.data = weight, bias
            layers.append(layer)
        else:
            layers.append({"flatten": torch.nn.Flatten, "relu": torch.nn.ReLU}[word]())
    return torch.nn.Sequential(*layers).eval()


def hashgrad_attack(binary, *arguments):
    """The tensors that `hashgrad attack ARGUMENTS` writes."""
    with tempfile.TemporaryDirectory() as folder:
        output = os.path.join(folder, "output")
        subprocess.run([binary, "attack", *map(str, arguments), "--quiet", "--output", output], check=True,
                       stdout=subprocess.DEVNULL)
        return read_safetensors(output)[0]
