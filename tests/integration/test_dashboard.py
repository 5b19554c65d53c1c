"""The dashboard as a user starts it: who gets in, what the pages show, what the streams send, how it ends."""

import os
import re
import stat
import threading
import time
from pathlib import Path

import pytest
from cli import Cli
from sweep_folders import finish, make_sweep

pytest.importorskip("starlette", reason="the extra hpcsweep[web] is not installed")
pytest.importorskip("uvicorn", reason="the extra hpcsweep[web] is not installed")

from dashboard_server import Dashboard, start

NAME = "exp_runner-0001"
LABEL = "ep-on_eager-yes"
TOKEN = "hf_" + "a1B2" * 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A home with a sweep whose runs have ended, and logs that must not be shown as they are."""
    path = tmp_path_factory.mktemp("dashboard")
    sweep = make_sweep(path / ".hpcsweep", samples=4)
    finish(sweep, samples=4)
    attempt = sweep.attempt_dir(LABEL)
    (attempt / "server.log").write_text(
        "first line\n\x1b[31mred\x1b[0m\n" + f"HF_TOKEN={TOKEN}\n" + "<script>alert(1)</script>\n" + "\u202eevil\n"
    )
    (path / "secret.txt").write_text("the content of another file\n")
    (attempt / "client.log").symlink_to(path / "secret.txt")
    return path


def running(folder, *options):
    return start(Cli(folder), *options)


@pytest.fixture(scope="module")
def shared(folder):
    made = running(folder)
    made.log_in()
    yield made
    made.stop()


@pytest.fixture
def fresh(folder):
    made: list[Dashboard] = []

    def begin(*options):
        made.append(running(folder, *options))
        return made[-1]

    yield begin
    for one in made:
        one.stop()


def test_a_link_works_once_and_the_terminal_prints_the_next(fresh):
    dashboard = fresh()
    first = dashboard.link(0)
    answer = dashboard.log_in()
    assert answer.headers["location"] == "/"
    attributes = answer.headers["set-cookie"].lower()
    assert f"hpcsweep_{dashboard.port}=" in attributes
    assert "httponly" in attributes and "samesite=strict" in attributes
    assert dashboard.ask("/").status == 200
    again = dashboard.ask(f"/?token={first}", Cookie="")
    assert again.status == 403 and "set-cookie" not in again.headers and "used before" in again.text
    second = dashboard.link(1)
    assert second != first
    assert dashboard.ask(f"/?token={second}", Cookie="").status == 303
    assert dashboard.ask("/").status == 200, "another browser does not end the first session"


def test_without_the_cookie_there_is_nothing_but_the_page_that_explains(shared):
    paths = ["/", "/sweeps/" + NAME, "/api/sweeps", "/static/dashboard.css", "/events", "/nothing", "/?token=wrong"]
    for path in paths:
        for cookie in ("", "hpcsweep_1=x", f"hpcsweep_{shared.port}=wrong", "=;;\x7f"):
            answer = shared.ask(path, Cookie=cookie)
            assert answer.status == 403, path
            assert "hpcsweep dashboard" in answer.text and NAME not in answer.text
    assert shared.ask("/api/sweeps", Cookie="", Accept="application/json").json()["error"]["code"] == "no_access"


def test_the_token_is_in_no_file_and_no_argument(shared, folder):
    tokens = [shared.link(0), shared.link(1), shared.cookie.partition("=")[2]]
    arguments = Path(f"/proc/{shared.process.pid}/cmdline").read_bytes().decode()
    texts = [arguments, *(file.read_bytes().decode("latin-1") for file in folder.rglob("*") if file.is_file())]
    assert all(len(token) >= 43 for token in tokens)
    assert not [token for token in tokens for text in texts if token in text]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "a@127.0.0.1"])
def test_another_host_name_is_refused(shared, host):
    assert shared.ask("/", Host=host).status == 403


@pytest.mark.parametrize("host", ["localhost:9999", "127.0.0.1:1", "[::1]:80", "LOCALHOST"])
def test_an_ssh_tunnel_may_have_another_port(shared, host):
    assert shared.ask("/", Host=host).status == 200


def test_every_response_has_the_headers_that_protect_it(shared):
    for path in ("/", "/nothing", f"/sweeps/{NAME}/report", "/static/dashboard.js"):
        headers = shared.ask(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'") and "frame-ancestors 'none'" in policy
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers
    assert "unsafe" not in shared.ask("/").headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "/sweeps/..",
        "/sweeps/..%2f..%2fetc/runs/passwd",
        "/sweeps/%2e%2e/report",
        f"/sweeps/{NAME}/runs/..%2f..%2f..%2fsecret.txt",
        f"/sweeps/{NAME}/runs/..",
        f"/sweeps/{NAME}/runs/{LABEL}/attempt-1/..%2f..%2f..%2f..%2fsweep.json",
        f"/sweeps/{NAME}/runs/{LABEL}/attempt-1/secret.txt",
        f"/sweeps/{NAME}/runs/{LABEL}/../../sweep.json",
        f"/sweeps/{NAME}/runs/{LABEL}/attempt-9/server.log",
        f"/sweeps/{NAME}/runs/{LABEL}/..%2fattempt-1/server.log",
        f"/sweeps/{NAME}/runs/{LABEL}/attempt-1/client.log",
        "/sweeps//etc/passwd",
        "/static/..%2f..%2f..%2fsetup.cfg",
        "/static/../report.html.j2",
        "//etc/passwd",
        "/sweeps/%00",
        f"/sweeps/{NAME}/runs/%2fetc%2fpasswd/events",
    ],
)
def test_no_address_leads_out_of_a_sweep(shared, path):
    answer = shared.ask(path)
    assert answer.status == 404, answer.text[:300]
    assert "root:" not in answer.text and "another file" not in answer.text


def test_a_log_is_masked_escaped_and_without_control_characters(shared):
    for path in (f"/sweeps/{NAME}/runs/{LABEL}", f"/sweeps/{NAME}/runs/{LABEL}/attempt-1/server.log"):
        text = shared.ask(path).text
        assert "first line" in text and "red" in text
        assert TOKEN not in text and "\x1b" not in text and "\u202e" not in text
    page = shared.ask(f"/sweeps/{NAME}/runs/{LABEL}").text
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    assert "another file" not in page, "a symbolic link is not followed"


def test_the_pages_show_what_the_commands_print(shared, folder):
    cli = Cli(folder)
    status = shared.ask("/api/sweeps").json()
    assert [run["outcome"] for run in status["sweeps"][0]["runs"]] == ["completed"] * 4
    for run, expected in zip(status["sweeps"][0]["runs"], cli.json("status")["sweeps"][0]["runs"], strict=True):
        assert run == expected
    assert shared.ask(f"/sweeps/{NAME}", Accept="application/json").json()["sweeps"] == status["sweeps"]
    assert shared.ask(f"/api/sweeps/{NAME}/runs/{LABEL}").json() == cli.json("show", LABEL)
    assert shared.ask(f"/api/sweeps/{NAME}/report").json()["schema"]
    first = f"first={NAME}&second={NAME}"
    assert shared.ask(f"/api/compare?{first}").json() == cli.json("compare", NAME, NAME)
    assert "No regression" in shared.ask(f"/compare?{first}").text
    page = shared.ask(f"/sweeps/{NAME}").text
    assert page.count("data-key") == 5, "four runs and the template of a row"
    assert "All runs have ended" in page
    assert NAME in shared.ask("/").text and NAME not in shared.ask("/?filter=nothing-has-this").text.split("<tbody")[1]


def test_the_report_is_the_page_of_the_command_with_links_that_work(shared, folder, tmp_path):
    report = shared.ask(f"/sweeps/{NAME}/report")
    target = folder / ".hpcsweep" / "sweeps" / NAME / "report.html"
    Cli(folder).run("report", "-o", str(target))
    assert report.text == target.read_text()
    target.unlink()
    linked = re.findall(r'href="\./(runs/[^"]+)"', report.text)
    assert len(linked) > 10
    for address in linked:
        if address.endswith(f"{LABEL}/attempt-1/client.log"):
            continue  # a symbolic link
        assert shared.ask(f"/sweeps/{NAME}/{address}").status in (200, 303), address


def test_the_history_of_a_variant_has_a_point_per_run(shared):
    run = shared.ask(f"/api/sweeps/{NAME}/runs/{LABEL}").json()
    history = shared.ask(f"/api/history?variant={run['variant_id']}").json()
    (series,) = history["series"]
    assert [point["run"] for point in series["points"]] == [LABEL]
    assert series["points"][0]["engine_version"] == "0.11.0" and series["points"][0]["figure"]["n"] > 0
    assert LABEL in shared.ask(f"/history?variant={run['variant_id']}&metric=ttft_s").text
    assert shared.ask("/api/history?variant=nothing").json()["error"]["code"] == "unknown_variant"
    assert shared.ask("/api/history?variant=x&metric=speed").json()["error"]["code"] == "unknown_metric"


def test_unknown_names_are_errors_with_a_hint(shared):
    answer = shared.ask("/api/sweeps/exp_runner-0002")
    assert answer.status == 404
    assert answer.json()["error"]["code"] == "unknown_sweep" and NAME in answer.json()["error"]["hint"]
    assert shared.ask(f"/sweeps/{NAME}/runs/nothing/events").status == 404
    assert shared.ask("/sweeps/nothing/events").status == 404


def test_nothing_can_be_changed_by_default(shared):
    for action in ("cancel", "retry"):
        assert shared.ask(f"/sweeps/{NAME}/{action}").status == 404
        origin = f"http://127.0.0.1:{shared.port}"
        assert shared.ask(f"/sweeps/{NAME}/{action}", "POST", "run=", Origin=origin).status == 404
        assert f"/{action}" not in shared.ask(f"/sweeps/{NAME}").text
    assert shared.ask("/", "POST", "", Origin=f"http://127.0.0.1:{shared.port}").status == 405


@pytest.mark.parametrize("stripped", [True, False], ids=["stripped", "not stripped"])
def test_below_the_root_path_of_a_proxy(fresh, stripped):
    root = "/node/gpu01/8765"
    dashboard = fresh("--root-path", root + "/", "--allow-host", "portal.example")
    assert f"https://portal.example{root}/?token=" in "".join(dashboard.printed)
    prefix = "" if stripped else root
    host = {"Host": "portal.example"}
    answer = dashboard.ask(f"{prefix}/?token={dashboard.link(0)}", Cookie="", **host)
    assert answer.status == 303 and answer.headers["location"] == f"{root}/"
    assert f"path={root}/" in answer.headers["set-cookie"].lower()
    dashboard.cookie = answer.headers["set-cookie"].partition(";")[0]
    page = dashboard.ask(f"{prefix}/sweeps/{NAME}", **host)
    assert page.status == 200
    addresses = re.findall(r'(?:href|src|action|data-events)="(/[^"]*)"', page.text)
    assert len(addresses) > 10
    assert all(address.startswith(f"{root}/") for address in addresses), addresses
    for address in {a for a in addresses if "static" in a}:
        assert dashboard.ask(address.removeprefix(root) if stripped else address, **host).status == 200


def test_other_machines_only_with_an_option(folder):
    refused = Cli(folder).run("dashboard", "--host", "0.0.0.0", code=1)
    assert "--allow-remote" in refused.stderr and "token" not in refused.stdout
    invalid = Cli(folder).run("dashboard", "--root-path", "node/../x", code=1)
    assert "--root-path" in invalid.stderr


def test_a_port_that_is_taken_is_one_clear_error(shared, folder):
    taken = Cli(folder).run("dashboard", "--port", str(shared.port), code=1)
    assert "--port 0" in taken.stderr and "Traceback" not in taken.stderr


def test_without_the_extra_there_is_one_clear_error(folder, tmp_path):
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError('No module named uvicorn', name='uvicorn')\n")
    done = Cli(folder, {"PYTHONPATH": str(tmp_path)}).run("dashboard", code=1)
    assert "pip install 'hpcsweep[web]'" in done.stderr and "Traceback" not in done.stderr


def test_ctrl_c_ends_it_in_two_seconds_with_open_streams(fresh):
    dashboard = fresh()
    dashboard.log_in()
    streams = [dashboard.events(path) for path in ("/events", f"/sweeps/{NAME}/events", "/events")]
    for stream in streams:
        next(iter(stream))
    threads = [threading.Thread(target=lambda s=stream: list(s)) for stream in streams]
    for thread in threads:
        thread.start()
    code, seconds, errors = dashboard.interrupt()
    for thread in threads:
        thread.join(5)
    for stream in streams:
        stream.close()
    assert (code, errors) == (0, "")
    assert seconds < 2
    assert "stopped" in "".join(dashboard.printed)


def test_schedulers_are_asked_once_per_interval_and_only_while_somebody_looks(tmp_path):
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    calls = tmp_path / "calls"
    for command in ("squeue", "sacct"):
        fake = bin_dir / command
        fake.write_text(
            f'#!/bin/sh\necho "{command} $(date +%s)" >>{calls}\necho "{command}: cannot connect" >&2\nexit 1\n'
        )
        fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    make_sweep(tmp_path / ".hpcsweep", samples=1)
    cli = Cli(tmp_path, {"PATH": f"{bin_dir}:{os.environ['PATH']}"})
    dashboard = start(cli, "--refresh", "3s")
    try:
        time.sleep(1.5)
        assert not calls.exists(), "no page is open"
        dashboard.log_in()
        streams = [dashboard.events(f"/sweeps/{NAME}/events") for _ in range(5)]
        time.sleep(5)
        asked = calls.read_text().count("squeue")
        assert 1 <= asked <= 3
        page = dashboard.ask(f"/sweeps/{NAME}")
        assert page.status == 200 and "cannot connect" in page.text
        for stream in streams:
            stream.close()
        time.sleep(7)
        before = calls.read_text().count("squeue")
        time.sleep(4)
        assert calls.read_text().count("squeue") == before, "asked although no page is open"
    finally:
        dashboard.stop()


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A home in which real runs of the simulated engine can be started."""
    path = tmp_path_factory.mktemp("live")
    dashboard = start(Cli(path), "--allow-actions")
    dashboard.log_in()
    yield Cli(path), dashboard
    dashboard.stop()


def submit(cli, *options):
    done = cli.run("submit", "exp_runner", "--grid", "eager", "--cluster", "local", *options)
    return re.search(r"^(exp_runner-\d+):", done.stdout, flags=re.MULTILINE)[1]


def form(dashboard, path):
    page = dashboard.ask(path)
    assert page.status == 200, page.text
    return re.search(r'name="form_token" value="([^"]+)"', page.text)[1], page.text


def test_a_stream_delivers_a_sweep_its_states_and_its_logs(live):
    cli, dashboard = live
    index = dashboard.events("/events")
    name = submit(cli)
    index.until(lambda kind, data: kind == "view" and any(row["key"] == name for row in data["rows"]))
    index.close()
    labels = list(cli.runs(name))
    status = dashboard.events(f"/sweeps/{name}/events")

    eager, compiled = (next(label for label in labels if f"eager-{level}" in label) for level in ("yes", "no"))

    def row_of(data, key):
        return next((row for row in data.get("rows", ()) if row["key"] == key), None)

    status.until(lambda kind, data: kind == "view" and (row_of(data, eager) or {}).get("group") == "running")
    lengths = []

    def grew_twice(kind, data):
        bar = (row_of(data, compiled) or {}).get("bar") if kind == "view" else None
        if bar and bar[-1][0] == "compile":
            lengths.append(bar[-1][2])
        return len(lengths) > 2 and lengths[-1] > lengths[0]

    status.until(grew_twice)
    status.close()
    deadline = time.monotonic() + 40
    while cli.runs(name)[eager]["state"] != "finished" and time.monotonic() < deadline:
        time.sleep(0.5)
    server_log = cli.home / "sweeps" / name / "runs" / eager / "attempt-1" / "server.log"

    def is_server_log(kind, data):
        return kind == "log" and data["log"] == "server"

    run = dashboard.events(f"/sweeps/{name}/runs/{eager}/events")
    _, first, _ = run.until(is_server_log)
    assert first["fresh"] and "INFO" in first["text"]
    with server_log.open("a") as log:
        log.write("a line that the test added\nhalf a li")
    _, more, last_id = run.until(lambda kind, data: is_server_log(kind, data) and "the test added" in data["text"])
    assert not more["fresh"] and more["text"].endswith("added\n")
    run.close()
    with server_log.open("a") as log:
        log.write("ne\n")
    again = dashboard.events(f"/sweeps/{name}/runs/{eager}/events", **{"Last-Event-ID": last_id})
    _, rest, _ = again.until(is_server_log)
    assert (rest["fresh"], rest["text"]) == (False, "half a line\n")
    again.close()


def test_cancel_and_retry_need_the_form_and_do_what_the_commands_do(live):
    cli, dashboard = live
    name = submit(cli)
    origin = f"http://127.0.0.1:{dashboard.port}"
    path = f"/sweeps/{name}/cancel"
    token, page = form(dashboard, path)
    assert "will be cancelled" in page
    for body, sent in (
        ("run=", origin),
        ("form_token=wrong&run=", origin),
        (f"form_token={token}&run=", "http://evil.example"),
        (f"form_token={token}&run=", f"http://127.0.0.1:{dashboard.port + 1}"),
        (f"form_token={token}&run=", "null"),
    ):
        assert dashboard.ask(path, "POST", body, Origin=sent).status == 403, (body, sent)
    assert dashboard.ask(path, "POST", f"form_token={token}&run=").status == 403, "no Origin"
    assert dashboard.ask(path, "POST", f"form_token={token}&run={'x' * 20000}", Origin=origin).status == 413
    assert dashboard.ask(path, "POST", f"form_token={token}&run=..", Origin=origin).status == 404
    assert not any(run["outcome"] == "cancelled" for run in cli.runs(name).values())
    done = dashboard.ask(path, "POST", f"form_token={token}&run=", Origin=origin)
    assert done.status == 200 and f"{name}: cancelled" in done.text
    deadline = time.monotonic() + 30
    while any(run["state"] != "finished" for run in cli.runs(name).values()) and time.monotonic() < deadline:
        time.sleep(0.5)
    outcomes = {run["outcome"] for run in cli.runs(name).values()}
    assert "cancelled" in outcomes and outcomes <= {"cancelled", "completed"}
    label = next(label for label, run in cli.runs(name).items() if run["outcome"] == "cancelled")
    token, _ = form(dashboard, f"/sweeps/{name}/retry?run={label}")
    done = dashboard.ask(f"/sweeps/{name}/retry", "POST", f"form_token={token}&run={label}", Origin=origin)
    assert done.status == 200 and "1 run again" in done.text, done.text
    assert cli.runs(name)[label]["outcome"] != "cancelled"
    cli.run("cancel", name)


def test_an_action_that_fails_is_a_page_with_the_reason(live, folder):
    cli, dashboard = live
    name = submit(cli)
    cli.run("cancel", name)
    token, _ = form(dashboard, f"/sweeps/{name}/retry")
    origin = f"http://127.0.0.1:{dashboard.port}"
    answer = dashboard.ask(
        "/sweeps/nothing/cancel", "POST", f"form_token={token}", Origin=origin, Accept="application/json"
    )
    assert answer.status == 404 and answer.json()["error"]["code"] == "unknown_sweep"
