"""Options of the command line that were renamed: the former names still work, with a note."""

import click
import pytest

from hpcsweep.cli.commands.submit import submit
from hpcsweep.cli.params import CommandWithOldOptions


@click.command(cls=CommandWithOldOptions, renamed={"--fix": "--set"})
@click.option("--set", "values", multiple=True)
def command(values: tuple[str, ...]) -> None:
    click.echo(",".join(values))


@pytest.mark.parametrize("words", [("--fix", "a=1", "--set", "b=2"), ("--fix=a=1", "--set=b=2")])
def test_a_former_name_of_an_option_is_accepted_and_reported(words, capsys):
    command.main(words, standalone_mode=False)
    assert capsys.readouterr() == ("a=1,b=2\n", "warning: --fix is deprecated: use --set\n")


def test_a_current_name_is_accepted_without_a_note(capsys):
    command.main(["--set", "a=1"], standalone_mode=False)
    assert capsys.readouterr() == ("a=1\n", "")


def test_submit_accepts_its_former_options_and_its_help_does_not_list_them():
    assert isinstance(submit, CommandWithOldOptions)
    shown = {option for parameter in submit.params for option in parameter.opts}
    for old, new in submit.renamed.items():
        assert new in shown and old not in shown
