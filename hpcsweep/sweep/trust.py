"""Trust of project folders: their SSH connections and templates are used only after `hpcsweep trust`.

A folder of another user may contain `hpcsweep.yaml`, `templates/` and `.hpcsweep/`. The user's own configuration is
trusted. A folder is trusted with its current content: after a change it must be trusted again.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.atomic_files import write_json
from hpcsweep.errors import SpecError
from hpcsweep.foreign_files import RECORD_LIMIT_BYTES, parse_json, read_regular
from hpcsweep.render.environment import shipped_dir, shipped_templates

TEMPLATES_DIR = "templates"
_TRUST_FILE = "trusted.json"


@dataclass(frozen=True)
class Own:
    """The files of a project folder that need trust. `files`: name below the folder -> sha256 of the content."""

    folder: Path
    files: Mapping[str, str]

    @property
    def templates(self) -> list[str]:
        """Names of its templates that replace shipped ones, or that those include."""
        return [Path(name).name for name in self.files if name.startswith(f"{TEMPLATES_DIR}/")]


def config_dir() -> Path:
    """Return the user's configuration folder of hpcsweep."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "hpcsweep"


def look_at(folder: Path, config_file: str) -> Own:
    """Return the files of a folder that need trust: its configuration file, and templates that replace shipped ones."""
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
            raise SpecError(f"{folder / name}: {exc.strerror}", code="trust_file_unreadable") from exc
    return Own(folder.resolve(), files)


def is_trusted(own: Own) -> bool:
    """Return whether the user has trusted this folder with its current content."""
    return bool(own.files) and _read_trusted().get(str(own.folder)) == dict(own.files)


def trust(own: Own) -> Path:
    """Record that the user trusts this folder with its current content; return the file of the record.

    Raises SpecError.
    """
    return _write_trusted({**_read_trusted(), str(own.folder): dict(own.files)})


def forget(folder: Path) -> bool:
    """Revoke the trust in a folder; return whether it was trusted."""
    known = _read_trusted()
    if known.pop(str(folder.resolve()), None) is None:
        return False
    _write_trusted(known)
    return True


def template_folders(given: Path | None, configured: Sequence[Path], config_file: str) -> list[Path]:
    """Return the folders whose templates precede the shipped ones: --template-dir, else the user's configuration.

    Raises SpecError: a folder does not exist; ./templates replaces shipped templates and is not trusted.
    """
    if given is not None:
        if not given.is_dir():
            raise SpecError(f"--template-dir {given}: folder not found", code="template_folder_not_found")
        return [given]
    own = look_at(Path(), config_file)
    if own.templates and not is_trusted(own):
        raise SpecError(
            f"./{TEMPLATES_DIR} has {', '.join(own.templates[:4])}: a template can put any command into a job script, "
            "so an untrusted folder is not used",
            code="templates_not_trusted",
            hint=f"`--template-dir {TEMPLATES_DIR}` uses it once; `hpcsweep trust` always, until a file in it changes",
        )
    return [*([own.folder / TEMPLATES_DIR] if own.templates else []), *configured]


def _read_trusted() -> dict[str, dict[str, str]]:
    path = config_dir() / _TRUST_FILE
    try:
        content = parse_json(read_regular(path, RECORD_LIMIT_BYTES, follow=True))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise SpecError(
            f"{path} cannot be read: {exc}",
            code="trust_record_unreadable",
            hint="remove it, and trust your folders again",
        ) from exc
    if not isinstance(content, dict):
        return {}
    return {folder: files for folder, files in content.items() if isinstance(files, dict)}


def _write_trusted(known: Mapping[str, Mapping[str, str]]) -> Path:
    path = config_dir() / _TRUST_FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(path, known, mode=0o600)
    except OSError as exc:
        raise SpecError(f"{path} cannot be written: {exc.strerror}", code="trust_record_not_writable") from exc
    return path
