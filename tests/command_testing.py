"""The hashgrad command as the tests drive it: it is the program's first argument; a trained model lies ready in a folder."""
import json
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zlib

BINARY = os.path.abspath(sys.argv.pop(1))
ROOT = pathlib.Path(__file__).resolve().parent.parent
SPEC = "1x28x28 conv4k5p2 relu maxpool2 flatten fc16@1/4 relu dropout0.1 fc10"
DATA = ["--data", "synthetic-digits"]


def read_safetensors(path):
    """{name: (dtype, shape, bytes)} and the metadata."""
    with open(path, "rb") as file:
        content = file.read()
    length = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8:8 + length]), content[8 + length:]
    metadata = header.pop("__metadata__", {})
    return {name: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for name, t in header.items()}, metadata


def numbers(tensor):
    dtype, _, content = tensor
    code = {"F32": "f", "F64": "d", "I64": "q", "U8": "B"}[dtype]
    return list(struct.unpack(f"<{len(content) // struct.calcsize(code)}{code}", content))


def write_images(path, n):
    """Unlabelled images of 28x28."""
    header = json.dumps({"x": {"dtype": "U8", "shape": [n, 1, 28, 28], "data_offsets": [0, n * 784]}}).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + bytes(range(256)) * 3 * n + bytes(n * 16))


def gray_png(width, height, level):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    rows = (b"\0" + bytes([level] * width)) * height
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


class Command(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="hashgrad_command.")
        cls.model = cls.path("model.safetensors")
        cls.run_ok("train", SPEC, *DATA, "--first", "512", "--epochs", "1", "--output", cls.model, "--json",
                   cls.path("train.json"))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder, name)

    @classmethod
    def run_ok(cls, *arguments):
        done = subprocess.run([BINARY, *arguments], capture_output=True, text=True, errors="surrogateescape", cwd=cls.folder)
        if done.returncode != 0:
            raise AssertionError(f"{arguments}: exit {done.returncode}: {done.stderr}")
        return done.stdout

    def assert_error(self, phrase, *arguments, code=None, env=None):
        """A failure (1) or bad usage (2), in one line with this phrase."""
        done = subprocess.run([BINARY, *arguments], capture_output=True, text=True, cwd=self.folder, env=env)
        self.assertIn(done.returncode, (code,) if code else (1, 2), done.stdout)
        self.assertIn(phrase, done.stderr)
        self.assertEqual((done.stdout, done.stderr.count("\n")), ("", 1), done.stderr)

    def start(self, command, until):
        """The process of a command, once `until()` holds or it has ended."""
        process = subprocess.Popen([BINARY, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while not until() and process.poll() is None:
            time.sleep(0.001)
        return process

    def interrupt(self, command, until):
        """Starts a command and interrupts it once `until()` holds; what it says."""
        process = self.start(command, until)
        process.send_signal(signal.SIGINT)
        stderr = process.communicate()[1]
        self.assertEqual(process.returncode, 130, stderr)
        return stderr

    def json_of(self, name):
        with open(self.path(name)) as file:
            return json.load(file)

    def tensors(self, name):
        return read_safetensors(self.path(name))[0]
