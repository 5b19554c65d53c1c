"""Install a distribution with one plugin, as pip would."""

import sys
from pathlib import Path

import pytest


def install_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, code: str, name: str = "mine") -> Path:
    """Write the module `my_plugin` with the class `Mine` and its entry point. Return its folder."""
    folder = tmp_path / "site"
    info = folder / "my_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "my_plugin.py").write_text(code, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-plugin\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = my_plugin:Mine\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "my_plugin", raising=False)
    return folder
