#!/usr/bin/env python3
"""Makes a Hashgrad model of a PyTorch state_dict.

  scripts/from_pytorch.py STATE_DICT OUTPUT --spec NAME [--ignore PREFIX ...] [--hashgrad BINARY]

STATE_DICT: a .pt or .pth file (needs torch; a training's file that holds it under "state_dict" or "model" will do), or
safetensors (needs nothing). NAME: a network that `hashgrad models` lists, as `resnet18(stem=imagenet)`, or a spec. Tensors
whose names begin with a PREFIX are left out: `--ignore AuxLogits.` for torchvision's Inception. OUTPUT appears only if
BINARY finds every tensor of the network in it, of the right shape and finite, and no other.
"""
import argparse
import json
import os
import pathlib
import struct
import subprocess
import sys

HASHGRAD = pathlib.Path(__file__).resolve().parent.parent / "build" / "hashgrad"


def read_safetensors(path):
    """{name: (type, shape, bytes)}"""
    with open(path, "rb") as file:
        content = file.read()
    length = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8:8 + length]), content[8 + length:]
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for name, t in header.items()}


def read_torch(path):
    """The same, of what torch.save() wrote."""
    import torch
    types = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64"}
    state = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):
        if isinstance(state.get(key), dict):
            state = state[key]
    tensors = {}
    for name, tensor in state.items():
        if tensor.dtype in (torch.float16, torch.bfloat16):
            tensor = tensor.float()  # exact
        if tensor.dtype not in types:
            sys.exit(f"{path}: '{name}' holds {tensor.dtype}, which no parameter of a network does")
        name = name.removeprefix("module.")  # of a network that was trained on several devices
        tensors[name] = (types[tensor.dtype], list(tensor.shape), tensor.detach().contiguous().numpy().tobytes())
    return tensors


def read(path):
    try:
        return read_safetensors(path) if path.endswith(".safetensors") else read_torch(path)
    except OSError as error:
        sys.exit(f"{path}: {error.strerror}")
    except Exception as error:  # a damaged file raises many kinds, which need not say more than this
        sys.exit(f"{path}: cannot be read: {type(error).__name__}: {' '.join(str(error).split())}")


def write_safetensors(file, tensors, metadata):
    header, offset = {"__metadata__": metadata}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
    for _, _, data in tensors.values():
        file.write(data)


def make_model(tensors, args):
    part = f"{args.output}.{os.getpid()}.part"
    try:
        with open(part, "xb") as file:
            write_safetensors(file, tensors, {"spec": args.spec})
        done = subprocess.run([args.hashgrad, "info", part], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stderr.strip().replace(part, args.state_dict))
        os.replace(part, args.output)
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}")
    finally:
        if os.path.exists(part):
            os.unlink(part)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("state_dict", metavar="STATE_DICT")
    parser.add_argument("output", metavar="OUTPUT")
    parser.add_argument("--spec", required=True, help="name of a network, or a spec")
    parser.add_argument("--ignore", action="append", default=[], metavar="PREFIX", help="tensors to leave out")
    parser.add_argument("--hashgrad", default=HASHGRAD, metavar="BINARY", help="default: build/hashgrad")
    args = parser.parse_args()
    tensors = {name: t for name, t in read(args.state_dict).items() if not name.startswith(tuple(args.ignore))}
    make_model(tensors, args)
    print(f"{args.output}: {len(tensors)} tensors, {args.spec}")


if __name__ == "__main__":
    main()
