"""The pure parts of the dashboard: access, addresses, pieces of logs, bars, views, changes."""

from dataclasses import replace

import pytest

from hpcsweep.analysis.findings.measured import Figure
from hpcsweep.dashboard.access import Access, host_name
from hpcsweep.dashboard.history_view import Point, plot
from hpcsweep.dashboard.links import Links, root_path
from hpcsweep.dashboard.status_view import LiveView, Row, status_view
from hpcsweep.dashboard.timeline import Segment, segments, span_s
from hpcsweep.errors import SpecError
from hpcsweep.spec.phases import OutcomeKind, RunState
from hpcsweep.track.evidence import RunVerdict, VerdictCode
from hpcsweep.track.live_rows import AttemptRows, PhaseStart
from hpcsweep.track.preparations import PreparationStatus
from hpcsweep.track.runs import Progress, RunStatus, SweepStatus

NOW = 1_790_000_100.0


def run(label="a", state=RunState.RUNNING, outcome=None, reason="", simulated=False, **progress):
    verdict = RunVerdict(state, outcome, reason=reason, source="run folder")
    return RunStatus(
        run_id=hash(label) & 0xFFFF, run=label, axes={}, repeat=1, attempt=1, job="12", node="gpu01",
        simulated=simulated, verdict=verdict, progress=Progress(**progress), queued_s=None, gpus=8,
        not_submitted=False, documented_only=False,
    )  # fmt: skip


def sweep(*runs):
    return SweepStatus(
        sweep_id=1, name="exp-0001", experiment="exp", title="", cluster="h200", scheduler="slurm",
        submitted_at=NOW - 1000, simulated=False, sweep_dir="/nowhere", runs=runs,
    )  # fmt: skip


PHASES = [PhaseStart("launch", 5.0), PhaseStart("load_weights", 25.0), PhaseStart("compile", 125.0)]


def test_a_token_is_redeemed_once_and_replaced():
    announced = []
    access = Access("hpcsweep_1", announced.append)
    access.offer()
    session = access.redeem(announced[0])
    assert session is not None and len(announced) == 2 and announced[0] != announced[1]
    assert access.redeem(announced[0]) is None and access.redeem("") is None
    assert access.session(f"other=1; hpcsweep_1={session}") == session
    for header in ("", "hpcsweep_1=", f"hpcsweep_2={session}", "hpcsweep_1=ä", "=;\x7f;;"):
        assert access.session(header) is None
    assert access.form_is_ours(session, access.form_token(session))
    assert not access.form_is_ours(session, "") and not access.form_is_ours(session, session)
    assert announced[1] not in repr(access) and session not in repr(access)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost:80", "localhost"),
        ("[::1]:80", "::1"),
        ("LOCALHOST", "localhost"),
        ("", None),
        ("a@b", None),
        ("a/b", None),
        ("a:port", None),
        ("ı", None),
    ],
)
def test_the_name_in_a_host_header(host, name):
    assert host_name(host) == name


def test_an_origin_must_be_the_address_of_the_page_or_a_named_proxy():
    access = Access("hpcsweep_1", lambda token: None, {"portal.example"})
    assert access.origin_allowed("http://localhost:80", "localhost:80")
    assert access.origin_allowed("https://portal.example", "gpu01:80")
    for origin in ("", "null", "http://localhost:81", "http://evil.example", "file://localhost:80", "http://[", "x"):
        assert not access.origin_allowed(origin, "localhost:80"), origin


@pytest.mark.parametrize(("text", "root"), [("", ""), ("/", ""), ("/node/gpu01/80/", "/node/gpu01/80")])
def test_a_root_path(text, root):
    assert root_path(text) == root


@pytest.mark.parametrize("text", ["node", "//x", "/a/../b", "/a b", "/a?b", "/a//b", '/"'])
def test_a_root_path_that_is_none(text):
    with pytest.raises(SpecError) as error:
        root_path(text)
    assert error.value.code == "root_path_invalid"


def test_each_part_of_an_address_stays_one_segment():
    links = Links("/node")
    assert links.to("sweeps", "../a b?#%") == "/node/sweeps/..%2Fa%20b%3F%23%25"
    assert links.to() == "/node/" and links.to("compare", first="a&b", second="") == "/node/compare?first=a%26b"
    paths = ("/node", "/node/", "/node/x", "/nodes/x", "/x")
    assert [links.without_root(path) for path in paths] == ["/", "/", "/x", "/nodes/x", "/x"]


def test_the_bar_of_a_running_server_grows_on_the_clock_of_its_attempt():
    bar = run(phase="compile", phase_start_s=125.0, last_t_s=130.0, last_at=NOW - 2, time_scale=100.0)
    parts = segments(bar, PHASES, NOW)
    assert [(part.phase, part.start_s, part.took_s) for part in parts] == [
        ("launch", 0.0, 20.0),
        ("load_weights", 20.0, 100.0),
        ("compile", 120.0, 205.0),
    ]
    assert segments(bar, PHASES, NOW + 1)[-1].took_s == 305.0
    assert segments(bar, [], NOW) == ()


def test_the_bar_of_a_failed_start_ends_with_the_attempt():
    failed = run(
        state=RunState.FINISHED, outcome=OutcomeKind.STALLED, phase="compile", last_t_s=600.0, duration_s=725.0
    )
    last = segments(failed, PHASES, NOW)[-1]
    assert (last.failed, last.took_s, last.title) == (True, 600.0, "compile 10m00s, ended here")


def test_phases_after_the_startup_are_not_in_the_bar():
    measured = run(phase="measure", phase_start_s=260.0, last_t_s=300.0, last_at=NOW)
    phases = [*PHASES, PhaseStart("ready", 250.0), PhaseStart("measure", 260.0)]
    assert [(part.phase, part.took_s) for part in segments(measured, phases, NOW)][-1] == ("compile", 125.0)


@pytest.mark.parametrize(("longest_s", "span"), [(0.0, 1.0), (7.2, 7.5), (11.0, 15.0), (61.0, 90.0), (3601.0, 4500.0)])
def test_the_scale_of_all_bars_is_a_round_number(longest_s, span):
    bars = [(), (Segment("launch", 0.0, longest_s),)] if longest_s else [()]
    assert span_s(bars) == span


def test_what_needs_attention_comes_first_and_alike_failures_together():
    stalled = {"state": RunState.FINISHED, "outcome": OutcomeKind.STALLED, "phase": "compile"}
    warned = run("b")
    view = status_view(
        sweep(
            run("s1", reason="no progress for 10m27s", **stalled),
            warned,
            run("s2", reason="no progress for 10m19s", **stalled),
            run("done", state=RunState.FINISHED, outcome=OutcomeKind.COMPLETED),
        ),
        {warned.run_id: AttemptRows([], ["slow \x1b[31mdisk", "slow \x1b[31mdisk"])},
        ["squeue timed out"],
        Links(),
        NOW,
    )
    items = [(item.label, item.text) for item in view.lists["attention"]]
    assert items == [("b", "slow disk"), ("s1 and 1 more", "stalled in compile: no progress for 10m27s")]
    assert [item.text for item in view.lists["notes"]] == ["squeue timed out"]
    assert [row.group for row in view.rows] == ["failed", "running", "failed", "completed"]
    assert {name: view.fields[f"count-{name}"] for name in ("running", "failed")} == {"running": "1", "failed": "2"}


def test_preparations_are_listed_with_where_they_run_or_why_they_ended():
    def step(name, state, outcome=None, reason="", node=None, evidence=()):
        verdict = RunVerdict(state, outcome, reason, hint="see its log", code=VerdictCode.END_RECORD)
        return PreparationStatus(name, 0, "7", node, verdict, NOW, None, 60.0, 0, evidence)

    steps = (
        step("weights", RunState.FINISHED, OutcomeKind.COMPLETED, evidence=("/models/x exists",)),
        step("image", RunState.FINISHED, OutcomeKind.FAILED, "exit code \x1b[31m3"),
        step("warm", RunState.RUNNING, node="cpu-07"),
    )
    view = status_view(replace(sweep(run("a")), preparations=steps), {}, [], Links(), NOW)
    assert [(item.label, item.text, item.hint) for item in view.lists["preparations"]] == [
        ("weights", "completed: /models/x exists", ""),
        ("image", "failed: exit code 3", "see its log"),
        ("warm", "running: on cpu-07", "see its log"),
    ]


def test_simulated_rows_are_marked_where_not_all_are():
    def marks(*simulated):
        runs = [run(str(i), simulated=value) for i, value in enumerate(simulated)]
        return [row.simulated for row in status_view(sweep(*runs), {}, [], Links(), NOW).rows]

    assert marks(True, False) == [True, False] and marks(True, True) == [False, False]


def test_only_what_changed_is_sent():
    pytest.importorskip("starlette", reason="the extra hpcsweep[web] is not installed")
    from hpcsweep.dashboard.streams import Changes

    def view(clock, *rows):
        return LiveView({"clock": clock, "summary": "x"}, {"notes": []}, [Row(k, "/", g, {}) for k, g in rows])

    changes = Changes()
    first = changes.since_last(view("1", ("a", "waiting"), ("b", "waiting")))
    assert [row["key"] for row in first["rows"]] == ["a", "b"] == first["order"]
    assert changes.since_last(view("2", ("a", "waiting"), ("b", "waiting"))) is None
    second = changes.since_last(view("3", ("a", "waiting"), ("b", "running")))
    assert [row["key"] for row in second["rows"]] == ["b"] and second["order"] is None
    third = changes.since_last(view("4", ("c", "waiting"), ("a", "waiting"), ("b", "running")))
    assert [row["key"] for row in third["rows"]] == ["c"] and third["order"] == ["c", "a", "b"]


def test_positions_come_back_from_the_id_of_an_event():
    pytest.importorskip("starlette", reason="the extra hpcsweep[web] is not installed")
    from hpcsweep.dashboard.streams import positions_of, positions_text

    positions = {"attempt": 2, "server": 120, "job": 7}
    assert positions_of(positions_text(positions)) == positions
    assert positions_of("server:-1,client:x,other:3,,server,job:٣" + "9" * 5000) == {}


def test_a_piece_of_a_log_has_whole_lines_and_no_secrets(tmp_path):
    from hpcsweep.dashboard.tails import FIRST_BYTES, read_piece

    path = tmp_path / "server.log"
    path.write_bytes(b"HF_TOKEN=abc\x1b[31m\nhalf a")
    first = read_piece(path, None)
    assert (first.text, first.end, first.fresh) == ("HF_TOKEN=***\n", 18, True)
    assert read_piece(path, first.end).text == ""
    with path.open("ab") as file:
        file.write(b" line\n")
    assert (read_piece(path, first.end).text, read_piece(path, first.end).fresh) == ("half a line\n", False)
    path.write_bytes(b"x\n" * FIRST_BYTES)
    long = read_piece(path, first.end)
    assert long.fresh and long.end == 2 * FIRST_BYTES and len(long.text) < FIRST_BYTES + 100
    assert long.text.startswith("[32.0 KiB before this are in server.log]\nx\n")
    path.write_bytes(b"new\n")
    assert (read_piece(path, long.end).text, read_piece(path, long.end).fresh) == ("new\n", True)


def test_a_plot_joins_the_values_and_shows_their_intervals():
    def point(at, value, low=None, high=None):
        return Point("s", "r", at, "gpu01", "0.11", "", Figure(value, "tokens/s", 3, low=low, high=high))

    assert plot([point(1.0, 8.0)]) is None
    drawn = plot([point(1.0, 8.0, 7.0, 9.0), point(2.0, 8.1)])
    assert drawn.marks[0].y > drawn.marks[1].y, "higher is further up"
    assert drawn.marks[0].high < drawn.marks[0].y < drawn.marks[0].low and drawn.marks[1].low is None
    flat = plot([point(1.0, 8.0), point(2.0, 8.001)])
    assert abs(flat.marks[0].y - flat.marks[1].y) < 2, "noise does not fill the plot"
