import functools
import hashlib
import http.server
import threading

import pytest
from click.testing import CliRunner

from hpcsweep.cli.commands.data import data
from hpcsweep.errors import DatasetError, SpecError

CONTENT = b'{"prompt": "x"}\n' * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """No log: the test reads the output."""

    def do_GET(self) -> None:
        if self.path == "/cut.jsonl":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"only this")
        else:
            super().do_GET()


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "my data.jsonl").write_bytes(CONTENT)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def run(*args: str) -> str:
    result = CliRunner().invoke(data, args, catch_exceptions=False)
    return result.output


def test_fetch_writes_the_whole_file_and_tells_its_digest(site, tmp_path):
    told = run("fetch", f"{site}/my%20data.jsonl", "--to", str(tmp_path / "new"))
    assert (tmp_path / "new" / "my data.jsonl").read_bytes() == CONTENT
    assert DIGEST in told
    assert DIGEST in run("check", str(tmp_path / "new" / "my data.jsonl"))


def test_a_file_with_the_right_digest_is_not_fetched_again(tmp_path):
    (tmp_path / "data.jsonl").write_bytes(CONTENT)
    run("fetch", "http://127.0.0.1:9/data.jsonl", "--to", str(tmp_path), "--sha256", DIGEST)


@pytest.mark.parametrize(
    ("path", "options", "told"),
    [
        ("/cut.jsonl", [], "received 9 of 100 bytes"),
        ("/none.jsonl", [], "cannot fetch"),
        ("/my%20data.jsonl", ["--sha256", "0" * 64], f"sha256 is {DIGEST}"),
    ],
)
def test_what_is_not_whole_leaves_nothing(site, tmp_path, path, options, told):
    with pytest.raises(DatasetError) as caught:
        run("fetch", site + path, "--to", str(tmp_path / "new"), *options)
    assert told in str(caught.value)
    assert list((tmp_path / "new").iterdir()) == []


def test_shapes_are_listed_and_printed_as_yaml():
    assert "prompt_heavy   8000 prompt, 1000 completion tokens" in run("shapes")
    assert run("shapes", "short", "batch_sweep").count("dataset: {kind: shape") == 11
    with pytest.raises(SpecError, match="'shrt'") as caught:
        run("shapes", "shrt")
    assert "'short'" in caught.value.hint


def test_a_source_that_is_no_url():
    with pytest.raises(SpecError, match="not a URL") as caught:
        run("fetch", "sharegtp")
    assert "'sharegpt'" in caught.value.hint
