"""What a project folder may do by itself: open SSH connections and run templates only once the user has trusted it.

A folder from somebody else holds an `hpcsweep.yaml`, `templates/` and `.hpcsweep/` of its own. The user's own
configuration is trusted; a folder is by `hpcsweep trust`, and only as it was then: a change needs trust again.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.errors import SpecError
from hpcsweep.foreign_files import RECORD_LIMIT_BYTES, parse_json, read_regular
from hpcsweep.render.environment import shipped_dir, shipped_templates

TEMPLATES_DIR = "templates"
_TRUST_FILE = "trusted.json"


@dataclass(frozen=True)
class Own:
    """What of a project folder is in question. `files`: name below the folder -> sha256 of what is in it."""

    folder: Path
    files: Mapping[str, str]

    @property
    def templates(self) -> list[str]:
        """Names of its templates that would take the place of shipped ones, or that those include."""
        return [Path(name).name for name in self.files if name.startswith(f"{TEMPLATES_DIR}/")]


def config_dir() -> Path:
    """The user's configuration folder of hpcsweep."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "hpcsweep"


def look_at(folder: Path, config_file: str) -> Own:
    """Return what a folder would bring along: its configuration file, and templates that replace shipped ones."""
    files = {}
    names = [config_file]
    templates = folder / TEMPLATES_DIR
    if templates.is_dir() and templates.resolve() != shipped_dir().resolve():
        own = sorted(path.name for path in templates.glob("*.j2"))
        if set(own) & set(shipped_templates()):
            names += [f"{TEMPLATES_DIR}/{name}" for name in own]
    for name in names:
        try:
            files[name] = hashlib.sha256(read_regular(folder / name, RECORD_LIMIT_BYTES, follow=True)).hexdigest()
        except FileNotFoundError:
            continue
        except OSError as exc:
            raise SpecError(f"{folder / name}: {exc.strerror}") from exc
    return Own(folder.resolve(), files)


def is_trusted(own: Own) -> bool:
    """Whether the user has trusted this folder as it is now."""
    return bool(own.files) and _read_trusted().get(str(own.folder)) == dict(own.files)


def trust(own: Own) -> Path:
    """Remember that the user trusts this folder as it is now; the file in which that is written. Raises SpecError."""
    return _write_trusted({**_read_trusted(), str(own.folder): dict(own.files)})


def forget(folder: Path) -> bool:
    """Take the trust back; False: there was none."""
    known = _read_trusted()
    if known.pop(str(folder.resolve()), None) is None:
        return False
    _write_trusted(known)
    return True


def template_folders(given: Path | None, configured: Sequence[Path], config_file: str) -> list[Path]:
    """Folders whose templates come before the shipped ones: --template-dir, else those of the user's configuration.

    Raises SpecError: no such folder; ./templates has some of ours, and nobody said that they are to be used.
    """
    if given is not None:
        if not given.is_dir():
            raise SpecError(f"--template-dir {given}: there is no such folder")
        return [given]
    own = look_at(Path(), config_file)
    if own.templates and not is_trusted(own):
        raise SpecError(
            f"./{TEMPLATES_DIR} has {', '.join(own.templates[:4])}: a template can put any command into a job script, "
            "so it is not used just because it is here",
            hint=f"`--template-dir {TEMPLATES_DIR}` uses it once; `hpcsweep trust` always, until a file there changes",
        )
    return [*([own.folder / TEMPLATES_DIR] if own.templates else []), *configured]


def _read_trusted() -> dict[str, dict[str, str]]:
    path = config_dir() / _TRUST_FILE
    try:
        found = parse_json(read_regular(path, RECORD_LIMIT_BYTES, follow=True))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise SpecError(
            f"{path} cannot be read: {exc}", hint="remove it: folders are then to be trusted again"
        ) from exc
    if not isinstance(found, dict):
        return {}
    return {folder: files for folder, files in found.items() if isinstance(files, dict)}


def _write_trusted(known: Mapping[str, Mapping[str, str]]) -> Path:
    path = config_dir() / _TRUST_FILE
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            json.dump(known, stream, indent=1)
        beside.replace(path)
    except OSError as exc:
        raise SpecError(f"{path} cannot be written: {exc.strerror}") from exc
    return path
