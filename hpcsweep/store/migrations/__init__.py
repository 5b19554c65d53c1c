"""Migrations of the store, run by Alembic when it is opened: all that are needed in one transaction, or none."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

VERSIONS_DIR = Path(__file__).parent / "versions"


def upgrade(connection: Connection, versions_dir: Path = VERSIONS_DIR, revision: str = "head") -> None:
    """Bring the store behind `connection` to `revision`, within the transaction that the caller holds."""
    config = _config(versions_dir)
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def revisions(versions_dir: Path = VERSIONS_DIR) -> list[str]:
    """All revisions, the oldest first."""
    script = ScriptDirectory.from_config(_config(versions_dir))
    return [step.revision for step in script.walk_revisions()][::-1]


def _config(versions_dir: Path) -> Config:
    config = Config()
    # Alembic interpolates `%` and splits the locations at its separator: a folder's name may hold anything.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", str(versions_dir).replace("%", "%%"))
    return config
