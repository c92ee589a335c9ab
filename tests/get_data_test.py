#!/usr/bin/env python3
"""scripts/get-data against a server on this machine that cuts connections, lies and forgets about ranges."""
import contextlib
import hashlib
import http.server
import importlib.machinery
import importlib.util
import io
import pathlib
import tarfile
import tempfile
import threading
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parent.parent / "scripts" / "get-data"
loader = importlib.machinery.SourceFileLoader("get_data", str(SCRIPT))
get_data = importlib.util.module_from_spec(importlib.util.spec_from_loader("get_data", loader))
loader.exec_module(get_data)


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; the attributes say how badly. `ranges` lists the Range header of every request."""

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.ranges, self.cut_at, self.knows_ranges = files, [], [], True


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        content = self.server.files.get(self.path.lstrip("/"))
        if content is None:
            return self.send_error(404)
        begin = int(wanted[len("bytes="):-1]) if wanted and self.server.knows_ranges else 0
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        end = self.server.cut_at.pop(0) if self.server.cut_at else len(content)
        self.wfile.write(content[begin:end])

    def log_message(self, *_):
        pass


def archive(members):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return raw.getvalue()


class GetData(unittest.TestCase):
    def setUp(self):
        self.content = bytes(range(256)) * 1000
        self.tar = archive({"deep/a.bin": b"first", "deep/b.bin": b"second", "deep/readme.html": b"no"})
        self.server = Server({"one.gz": self.content, "all.tar.gz": self.tar})
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.dir = pathlib.Path(scratch.name)
        self.published = {"plain": self.entry("one.gz", self.content),
                          "packed": {**self.entry("all.tar.gz", self.tar), "members": ["deep/a.bin", "deep/b.bin"]}}
        self.addCleanup(setattr, get_data, "SETS", get_data.SETS)
        get_data.SETS = self.published

    def entry(self, name, content):
        return {"url": f"http://127.0.0.1:{self.server.server_port}/",
                "files": [(name, len(content), hashlib.sha256(content).hexdigest())]}

    def get(self, *words):
        """The error line, empty after a success."""
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                get_data.main([*words, "--data-dir", str(self.dir)])
            except SystemExit as end:
                return str(end.code or "")
        return ""

    def there(self):
        return sorted(str(p.relative_to(self.dir)) for p in self.dir.rglob("*") if p.is_file())

    def test_downloads_verifies_and_does_not_ask_twice(self):
        self.assertEqual(self.get("plain"), "")
        self.assertEqual((self.dir / "plain/one.gz").read_bytes(), self.content)
        self.assertEqual(self.get("plain"), "")
        self.assertEqual(self.server.ranges, [None])

    def test_a_cut_download_goes_on_where_it_stopped(self):
        self.server.cut_at = [1000, 2000, 150000]
        self.assertIn("after 150000 of 256000 bytes", self.get("plain"))
        self.assertEqual(self.there(), ["plain/one.gz.part"])
        self.assertEqual(self.get("plain"), "")
        self.assertEqual(self.server.ranges, [None, "bytes=1000-", "bytes=2000-", "bytes=150000-"])
        self.assertEqual((self.dir / "plain/one.gz").read_bytes(), self.content)
        self.assertEqual(self.there(), ["plain/one.gz"])

    def test_a_server_without_ranges_starts_over(self):
        self.server.cut_at, self.server.knows_ranges = [5000], False
        self.assertEqual(self.get("plain"), "")
        self.assertEqual((self.dir / "plain/one.gz").read_bytes(), self.content)

    def test_other_bytes_are_not_kept(self):
        self.server.files["one.gz"] = b"x" + self.content[1:]
        self.assertIn("SHA-256 is", self.get("plain"))
        self.assertEqual(self.there(), [])

    def test_too_many_bytes_are_an_error(self):
        self.server.files["one.gz"] = self.content + b"more"
        self.assertIn("more than the 256000 bytes", self.get("plain"))
        self.assertNotIn("plain/one.gz", self.there())

    def test_a_missing_file_and_no_server_are_one_line(self):
        self.assertIn("404", self.get("plain", "--mirror", f"{self.published['plain']['url']}nowhere"))
        self.assertIn("run the same command again", self.get("plain", "--mirror", "http://127.0.0.1:1/"))
        self.assertNotIn("\n", self.get("plain", "--mirror", "http://127.0.0.1:1/"))

    def test_a_mirror_that_is_no_url_is_one_line(self):
        for mirror in ("nonsense", "http://[", "http://a b/"):
            self.assertNotIn("\n", self.get("plain", "--mirror", mirror))
            self.assertIn(mirror, self.get("plain", "--mirror", mirror))

    def test_foreign_files_are_replaced_only_by_force(self):
        (self.dir / "plain").mkdir()
        (self.dir / "plain/one.gz").write_bytes(b"mine")
        self.assertIn("--force replaces it", self.get("plain"))
        self.assertEqual((self.dir / "plain/one.gz").read_bytes(), b"mine")
        self.assertEqual(self.get("plain", "--force"), "")
        self.assertEqual((self.dir / "plain/one.gz").read_bytes(), self.content)

    def test_an_archive_leaves_its_members_alone(self):
        self.assertEqual(self.get("packed"), "")
        self.assertEqual(self.there(), ["packed/SHA256SUMS", "packed/a.bin", "packed/b.bin"])
        self.assertEqual((self.dir / "packed/b.bin").read_bytes(), b"second")
        self.assertEqual(self.get("packed"), "")
        self.assertEqual(len(self.server.ranges), 1)

    def test_an_archive_that_was_not_unpacked_yet_is(self):
        (self.dir / "packed").mkdir()
        (self.dir / "packed/all.tar.gz").write_bytes(self.tar)
        self.assertEqual(self.get("packed"), "")
        self.assertEqual(self.there(), ["packed/SHA256SUMS", "packed/a.bin", "packed/b.bin"])
        self.assertEqual(self.server.ranges, [])

    def test_a_damaged_member_is_named_and_replaced_only_by_force(self):
        self.assertEqual(self.get("packed"), "")
        for damaged in (b"secone", b"sec", b""):
            (self.dir / "packed/b.bin").write_bytes(damaged)
            self.assertIn("packed/b.bin: is not what was unpacked", self.get("packed"))
            self.assertEqual((self.dir / "packed/b.bin").read_bytes(), damaged)
        self.assertEqual(self.get("packed", "--force"), "")
        self.assertEqual((self.dir / "packed/b.bin").read_bytes(), b"second")
        self.assertEqual(self.get("packed"), "")

    def test_members_of_unknown_origin_are_said_to_be_unverified(self):
        self.assertEqual(self.get("packed"), "")
        (self.dir / "packed/SHA256SUMS").unlink()
        with contextlib.redirect_stdout(io.StringIO()) as out:
            get_data.main(["packed", "--data-dir", str(self.dir)])
        self.assertIn("not verified", out.getvalue())

    def test_an_archive_without_a_member_leaves_nothing_of_it(self):
        self.published["packed"]["members"].append("deep/c.bin")
        self.assertIn("deep/c.bin", self.get("packed"))
        self.assertFalse([f for f in self.there() if f.endswith(".bin")])


if __name__ == "__main__":
    unittest.main()
