"""`hpcsweep data`: fetch and check the data files of workloads on the login node; compute nodes fetch nothing."""

import hashlib
import os
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from importlib import import_module
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit

import click

from hpcsweep.cli.output import say
from hpcsweep.errors import DatasetError, SpecError
from hpcsweep.foreign_files import open_regular
from hpcsweep.load.datasets.base import sha256
from hpcsweep.load.datasets.shapes import SHAPES, SHAREGPT, example
from hpcsweep.spec.base import nearest
from hpcsweep.units import format_bytes

KNOWN_FILES = {
    "sharegpt": "https://huggingface.co/datasets/anon8231489123/ShareGPT_Vicuna_unfiltered/resolve/main/"
    "ShareGPT_V3_unfiltered_cleaned_split.json",
}
"""Short names of data files that serving benchmarks use."""

_TIMEOUT_S = 60
_LONGEST_NAME_BYTES = 200
_LARGEST_BYTES = 1 << 40


@click.group()
def data() -> None:
    """Fetch and check the data files of workloads."""


@data.command()
@click.argument("source")
@click.option(
    "--to",
    "folder",
    default=".",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write to.",
    show_default=True,
)
@click.option("--sha256", "expected", metavar="HEX", help="SHA-256 digest that the file must have.")
def fetch(source: str, folder: Path, expected: str | None) -> None:
    """Fetch a data file or a dataset.

    SOURCE is a URL, `sharegpt`, or `hf:REPO` for a dataset of the Hugging Face Hub, which is stored in the Hub's cache.
    An existing file is kept if it has the given digest; otherwise it is replaced when the download is complete.
    """
    if source.startswith("hf:"):
        say(_fetch_repository(source.removeprefix("hf:")))
        return
    url = KNOWN_FILES.get(source, source)
    path = folder / _file_name(source, url)
    if not (expected and path.is_file() and sha256(path) == expected):
        _fetch_file(url, path, expected)
    say(f"{path}  {format_bytes(path.stat().st_size)}  sha256 {sha256(path)}")


@data.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def check(files: tuple[Path, ...]) -> None:
    """Print the size and SHA-256 digest of FILES, as they are recorded with a sweep."""
    for path in files:
        say(f"{path}  {format_bytes(path.stat().st_size)}  sha256 {sha256(path)}")


@data.command()
@click.argument("names", nargs=-1)
def shapes(names: tuple[str, ...]) -> None:
    """Print workload shapes as YAML for an experiment file; without NAMES, list them."""
    known = (*SHAPES, SHAREGPT, "batch_sweep")
    if not names:
        for name in known:
            lengths = SHAPES.get(name)
            say(f"{name:14} {lengths[0]} prompt, {lengths[1]} completion tokens" if lengths else name)
        return
    for name in names:
        if name not in known:
            raise SpecError(f"unknown shape {name!r}", code="unknown_shape", hint=nearest(name, known))
    say("workloads:\n" + "".join(example(name) for name in names), nl=False)


def _file_name(source: str, url: str) -> str:
    """Return the file name for a URL: a plain name, whatever the URL contains. Raises SpecError."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https", "file") and (parts.port is None or parts.port > 0)
    except ValueError as exc:
        raise SpecError(f"not a URL: {source!r}: {exc}", code="not_a_url") from exc
    if not known:
        raise SpecError(f"not a URL: {source!r}", code="not_a_url", hint=f"{nearest(source, KNOWN_FILES)}; or hf:REPO")
    name = unquote(parts.path).rpartition("/")[2] or "data"
    if name.startswith(".") or not name.isprintable() or len(name.encode()) > _LONGEST_NAME_BYTES:
        raise SpecError(f"{source!r} does not end in a valid file name: {ascii(name)[:80]}", code="invalid_file_name")
    return name


@contextmanager
def _open_url(url: str) -> Iterator[tuple[IO[bytes], str | None]]:
    """Open a URL; yield its content and the announced size in bytes, None: not announced."""
    if urlsplit(url).scheme == "file":
        with open_regular(Path(unquote(urlsplit(url).path)), follow=True) as stream:
            yield stream, None
        return
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
        yield response, response.headers.get("Content-Length")


def _fetch_file(url: str, path: Path, expected: str | None) -> None:
    """Download to a temporary file, check it, and rename it. Raises DatasetError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "wb") as out, _open_url(url) as (response, stated):
            while block := response.read(1 << 20):
                digest.update(block)
                out.write(block)
                if out.tell() > _LARGEST_BYTES:
                    raise DatasetError(f"{url}: larger than {format_bytes(_LARGEST_BYTES)}", code="download_too_large")
            written = out.tell()
        if stated is not None and stated.isdecimal() and written != int(stated):
            raise DatasetError(
                f"{url}: received {written} of {stated} bytes", code="download_truncated", hint="try again"
            )
        if expected and digest.hexdigest() != expected.lower():
            raise DatasetError(f"{url}: sha256 is {digest.hexdigest()}, expected {expected}", code="download_digest")
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except HTTPError as exc:
        exc.close()  # the error holds the connection
        raise DatasetError(
            f"cannot fetch {url}", code="download_failed", detail=f"HTTP status {exc.code} {exc.reason}"
        ) from exc
    except (URLError, OSError, HTTPException, ValueError) as exc:
        raise DatasetError(
            f"cannot fetch {url}", code="download_failed", detail=str(exc), hint="check the URL and the proxy settings"
        ) from exc
    finally:
        Path(temporary).unlink(missing_ok=True)


def _fetch_repository(name: str) -> str:
    """Fetch a dataset into the Hub's cache and return its folder. Raises DatasetError."""
    try:
        hub = import_module("huggingface_hub")
    except ImportError as exc:
        raise DatasetError(
            "huggingface_hub is not installed", code="package_missing", hint="pip install 'hpcsweep[hf]'"
        ) from exc
    try:
        return str(hub.snapshot_download(name, repo_type="dataset"))
    except Exception as exc:  # the package raises many kinds of errors
        raise DatasetError(f"cannot fetch hf:{name}", code="download_failed", detail=str(exc)) from exc
