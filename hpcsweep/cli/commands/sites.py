"""`hpcsweep sites`: list the systems that hpcsweep has a cluster profile of, or show one."""

import json
import sys
from typing import Any

import click
from rich.table import Table

from hpcsweep.cli.output import say, say_json
from hpcsweep.report.console import make_console
from hpcsweep.sites.proposal import site_config
from hpcsweep.sites.site import STATUS, Site, read_site, site_names, site_text


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/json.md).")
def sites(name: str | None, as_json: bool) -> None:
    """List the systems that hpcsweep has a cluster profile of.

    With NAME, show its profile, the public source of each line, and what has to be filled in. `hpcsweep init --site
    NAME` writes the file.
    """
    if name is not None:
        site = read_site(name)
        if as_json:
            say_json(json.dumps(_document(site), indent=1))
        else:
            say(site_config(site, site_text(name), python=None, remote=False), nl=False)
        return
    known = [read_site(each) for each in site_names()]
    if as_json:
        say_json(json.dumps({"status": STATUS, "sites": [_document(site) for site in known]}, indent=1))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("site", "scheduler", "system", "fill in"):
        table.add_column(column, overflow="fold")
    for site in known:
        table.add_row(site.name, site.cluster.scheduler, site.title, ", ".join(site.todo))
    make_console(sys.stdout).print(table)
    say(f"All are {STATUS}. Next: hpcsweep sites NAME, then hpcsweep init --site NAME")


def _document(site: Site) -> dict[str, Any]:
    return {"status": STATUS, **site.model_dump(mode="json")}
