"""Identify what is really run behind an engine's executable: a wrapper's image, or a container's, not only a path.

Versions, flags and compiled code are cached by this identity. A file is identified by path, size and time of its last
change; a wrapper script also by its text and the files that it names; a folder with a system in it by the times and
names in those parts where engines are installed. Loaded modules count too, because they decide what a command runs.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SHEBANG = re.compile(rb"#!\s*(\S+)(?:[ \t]+(\S+))?")
_SCRIPT_LIMIT_BYTES = 1 << 18
_PATH_IN_TEXT = re.compile(r"/[A-Za-z0-9._/@%+=~-]+")
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")
_ASSIGNMENT = re.compile(r"""^\s*(?:export\s+)?([A-Za-z_]\w*)=["']?([^\s"';]*)""", re.MULTILINE)
_VARIABLE_DEPTH = 3
_NAMED_LIMIT = 200
_IMAGE_SUFFIXES = frozenset({".sif", ".simg", ".sqsh", ".squashfs", ".sqfs", ".img", ".tar"})
_SQUASHFS_MAGIC = b"hsqs"
_NOT_FILES = ("/dev/", "/proc/", "/sys/", "/run/")

_FOLDER_LIMIT = 4000
_DEPTH_LIMIT = 8
_NOT_SEARCHED = frozenset(
    {"proc", "sys", "dev", "tmp", "run", "var", "home", "root", "mnt", "media", "share", "doc", "include", "src",
     "__pycache__"}
)  # fmt: skip
_PACKAGES = frozenset({"site-packages", "dist-packages"})
_OF_THE_SYSTEM = frozenset({"bin", "sbin", "usr/bin", "usr/sbin"})


@dataclass(frozen=True)
class EngineIdentity:
    """What is run. `digest`: differs when something else is run.

    `indirect`: the executable only leads to the engine (a wrapper, a container), so that its version alone does not
    identify the engine. `certain`: the content is known; otherwise nothing may be cached for long. `image_id`: of a
    container image, as its runtime reports it; empty: none. `image_bytes`: size of the image's file; None: not a file.
    """

    digest: str
    indirect: bool = False
    certain: bool = True
    image_id: str = ""
    image_bytes: int | None = None


@dataclass(frozen=True)
class RunImage:
    """The image on one node. `id`: by its runtime; empty: not known. `size_bytes`: of its file; None: not a file.

    `stamp`: of name, times and modules, see `EngineIdentity.digest`; empty: not known.
    """

    name: str
    id: str = ""
    size_bytes: int | None = None
    stamp: str = ""


def executable_identity(executable: str, env: Mapping[str, str]) -> EngineIdentity | None:
    """Return the identity of an executable of this node; None: it cannot be read."""
    path = Path(executable).resolve()
    stamp = _stamp(path)
    if stamp is None:
        return None
    text = _script_text(path)
    parts = [stamp, env.get("LOADEDMODULES", "")]
    if text is not None:
        parts += [hashlib.sha256(text.encode()).hexdigest(), *(_named_files(text, env))]
    return EngineIdentity(_digest(parts), indirect=text is not None and python_of(executable) is None)


def image_identity(
    runtime: str, image: str, path: str | None, described: str, env: Mapping[str, str]
) -> EngineIdentity:
    """Return the identity of a container image. `path`: of its file or folder. `described`: by the runtime; empty: not.

    The name of an image with a digest identifies it; that of a tag does not.
    """
    content = _content(Path(path)) if path is not None else described or None
    parts = [runtime, image, content, env.get("LOADEDMODULES", "")]
    certain = content is not None or "@sha256:" in image
    return EngineIdentity(_digest(parts), True, certain, described if path is None else "", _file_bytes(path))


def python_of(executable: str) -> str | None:
    """Return the interpreter of a console script, or the executable itself if it is one; None: not Python."""
    if Path(executable).name.startswith("python"):
        return executable
    try:
        with Path(executable).open("rb") as file:
            match = _SHEBANG.match(file.read(512))
    except OSError:
        return None
    if match is None:
        return None
    program, argument = (os.fsdecode(word) if word else "" for word in match.groups())
    if Path(program).name == "env" and argument.startswith("python"):
        return shutil.which(argument)
    return program if Path(program).name.startswith("python") else None


def _digest(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _stamp(path: Path) -> list[Any] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return [str(path), status.st_size, status.st_mtime_ns]


def _content(path: Path) -> Any:
    """Return what identifies an image's file or folder; None: it cannot be read."""
    path = path.resolve()
    return [str(path), *_system_stamps(path)] if path.is_dir() else _stamp(path)


def _file_bytes(path: str | None) -> int | None:
    try:
        return Path(path).stat().st_size if path is not None and Path(path).is_file() else None
    except OSError:
        return None


def _script_text(path: Path) -> str | None:
    """Return the text of a script; None: it is a binary."""
    try:
        with path.open("rb") as file:
            content = file.read(_SCRIPT_LIMIT_BYTES)
    except OSError:
        return None
    return content.decode(errors="replace") if content.startswith(b"#!") else None


def _named_files(text: str, env: Mapping[str, str]) -> Iterator[Any]:
    """Yield what identifies each program, image file and image folder that a script names, also through variables.

    Other files, such as a log to which a wrapper appends, do not decide what is run.
    """
    assigned = {**env, **dict(_ASSIGNMENT.findall(text))}
    for _ in range(_VARIABLE_DEPTH):
        text = _VARIABLE.sub(lambda match: assigned.get(match[1] or match[2], match[0]), text)
    for name in sorted(set(_PATH_IN_TEXT.findall(text)))[:_NAMED_LIMIT]:
        path = Path(name)
        if name.startswith(_NOT_FILES):
            continue
        try:
            if (path.is_file() and _is_program(path)) or _is_system(path):
                yield _content(path)
        except OSError:  # not accessible: the wrapper will fail by itself
            continue


def _is_program(path: Path) -> bool:
    """Return whether a file is executable, as a SIF is, or the file of an image by its name or first bytes."""
    if path.suffix in _IMAGE_SUFFIXES or os.access(path, os.X_OK):
        return True
    with path.open("rb") as file:
        return file.read(len(_SQUASHFS_MAGIC)) == _SQUASHFS_MAGIC


def _is_system(path: Path) -> bool:
    """Return whether a folder is the root of a container image."""
    return path != path.parent and (path / "bin").exists() and (path / "usr").is_dir() and (path / "etc").is_dir()


def _system_stamps(root: Path) -> Iterator[list[Any]]:
    """Yield name and time of the folders of an image in which software is installed, and of installed packages.

    Installing, upgrading and removing a package changes the times of its folder and of `bin`.
    """
    status = root.stat()
    yield ["", status.st_ino, status.st_mtime_ns]
    pending = [(root, "", 0)]
    seen = 0
    while pending and seen < _FOLDER_LIMIT:
        folder, name, depth = pending.pop(0)
        seen += 1
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue
        packages = folder.name in _PACKAGES
        programs = folder.name == "bin" and name not in _OF_THE_SYSTEM
        for entry in entries:
            below = f"{name}/{entry.name}".lstrip("/")
            is_folder = entry.is_dir(follow_symlinks=False)
            if not (is_folder or packages or programs) or entry.name in _NOT_SEARCHED:
                continue
            status = entry.stat(follow_symlinks=False)
            yield [below, status.st_mtime_ns, 0 if is_folder else status.st_size]
            if is_folder and not packages and depth < _DEPTH_LIMIT:
                pending.append((folder / entry.name, below, depth + 1))
