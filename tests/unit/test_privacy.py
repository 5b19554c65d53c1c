"""Modes of the home folder and of what is written below it: private, or for one group."""

import grp
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from second_user import as_second_user, second_user

from hpcsweep.errors import SpecError
from hpcsweep.node.setup.api_key import key_for
from hpcsweep.sweep.layout import Home


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_home_is_private_even_in_a_project_folder_of_a_group(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    project.chmod(0o2775)
    home = Home(project / "home")
    home.make()
    assert {mode(path) & 0o777 for path in (home.path, home.sweeps_dir, home.cache_dir)} == {0o700}


def test_the_folders_of_an_old_home_become_private_and_the_users_own_folder_stays(tmp_path):
    home = Home(tmp_path)
    tmp_path.chmod(0o755)
    for folder in (home.sweeps_dir, home.cache_dir):
        folder.mkdir()
        folder.chmod(0o755)
    home.make()
    assert (mode(tmp_path), mode(home.sweeps_dir), mode(home.cache_dir)) == (0o755, 0o700, 0o700)


def test_a_home_for_a_group_belongs_to_it_and_what_is_made_below_too(tmp_path):
    if os.getuid() != 0:
        pytest.skip("only root can give a folder to a group that it is not a member of")
    group = grp.getgrgid(second_user().pw_gid).gr_name
    home = Home(tmp_path / "home")
    home.make(group)
    assert mode(home.sweeps_dir) == 0o2770
    script = f"""
import os, sys
from pathlib import Path
from hpcsweep import privacy
sweeps = Path({str(home.sweeps_dir)!r})
privacy.enter(sweeps)
(sweeps / "a-0001").mkdir()
(sweeps / "a-0001" / "sweep.json").write_text("x")
with privacy.users_umask():
    Path({str(tmp_path / "report.html")!r}).write_text("x")
"""
    subprocess.run([sys.executable, "-c", f"import os; os.umask(0o022)\n{script}"], check=True)
    made = home.sweeps_dir / "a-0001"
    assert (mode(made), mode(made / "sweep.json"), mode(tmp_path / "report.html")) == (0o2770, 0o660, 0o644)
    assert grp.getgrgid((made / "sweep.json").stat().st_gid).gr_name == group
    for folder in [*tmp_path.parents, tmp_path]:
        if folder.owner() == "root" and folder not in (Path("/"), Path("/tmp")):
            folder.chmod(mode(folder) | 0o011)
    assert as_second_user(lambda: (made / "sweep.json").read_text()) == "x"


def test_a_group_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(SpecError, match="group 'nosuchgroup' does not exist"):
        Home(tmp_path / "home").make("nosuchgroup")


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: path.chmod(0o640), id="readable by the group"),
        pytest.param(lambda path: path.chmod(0o602), id="writable by others"),
        pytest.param(lambda path: os.chown(path, second_user().pw_uid, -1), id="of another user"),
        pytest.param(lambda path: (path.rename(path.parent / "x"), path.symlink_to(path.parent / "x")), id="a link"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
    ],
)
def test_a_secret_that_others_could_have_written_or_read_is_not_used(tmp_path, spoil):
    first = key_for(tmp_path, "a")
    assert key_for(tmp_path, "a") == first
    spoil(tmp_path / f".secret-{os.getuid()}")
    other = key_for(tmp_path, "a")
    assert other != first and other != key_for(tmp_path, "a")  # a random one each time
