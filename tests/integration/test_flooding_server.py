"""A server that prints without end: the agent's memory, the log and the time stay bounded."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hpcsweep.node.process.capped_log import CappedLog
from hpcsweep.node.watch.inbox import Inbox, ServerLine

MIB = 1 << 20
LINES = """\
import sys
print('the first line')
for i in range({mib}):
    sys.stdout.write(('x' * 1000 + chr(10)) * 1048)
print('the last line')
"""
ONE_LINE = "import sys\nfor i in range({mib}): sys.stdout.write('x' * (1 << 20))\nprint()\nprint('the last line')\n"
READER = """\
import json, re, sys, time
from pathlib import Path
from hpcsweep.node.watch.inbox import Inbox, ServerLine
from hpcsweep.node.process.server import Server
inbox = Inbox()
begun = time.monotonic()
server = Server(
    [sys.executable, "-c", sys.argv[1]], {}, Path(sys.argv[2]), "token",
    lambda text, at: inbox.put_line(ServerLine(text, at)),
)
server._process.wait()
server.drain(60)
print(json.dumps({
    # Not ru_maxrss: it keeps the peak of the process that this one was forked from.
    "peak_mib": int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024,
    "seconds": time.monotonic() - begun, "lost": inbox.lost_lines,
}))
"""


@pytest.mark.parametrize(("code", "mib"), [(LINES, 200), (ONE_LINE, 100)], ids=["lines", "one line"])
def test_memory_and_log_are_bounded(tmp_path: Path, code: str, mib: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READER, code.format(mib=mib), str(tmp_path)], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["peak_mib"] < 250
    log = tmp_path / "server.log"
    assert log.stat().st_size < 98 * MIB
    assert sorted(path.name for path in tmp_path.iterdir()) == ["server.log"]
    text = log.read_text()
    assert text.rstrip().endswith("the last line")
    if mib == 200:
        assert text.split("\n", 1)[0].endswith("the first line")
        assert "of the log were dropped here" in text
        assert found["lost"] > 0


def test_a_capped_log_keeps_start_and_end_and_only_ever_grows(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    log = CappedLog(path, head_limit_bytes=100, tail_limit_bytes=100)
    sizes = []
    for number in range(100):
        log.write(b"line %06d\n" % number)
        sizes.append(path.stat().st_size)
    assert sizes == sorted(sizes)
    assert (tmp_path / "server.tail.log").read_bytes().endswith(b"line 000099\n"), "an agent that is killed leaves it"
    log.close()
    lines = path.read_text().splitlines()
    numbers = [int(line.split()[1]) for line in lines if line.startswith("line")]
    assert numbers[:8] == list(range(8)) and numbers[-4:] == [96, 97, 98, 99]
    assert numbers == sorted(numbers) and len(numbers) < 20
    assert any("were dropped here" in line for line in lines)


def test_lines_that_nobody_reads_are_counted_and_not_kept() -> None:
    inbox = Inbox()
    for _ in range(1000):
        inbox.put_line(ServerLine("x" * 65_536, 0.0))
    lost = inbox.lost_lines
    assert 400 < lost < 600
    while inbox.take(0.0):
        pass
    inbox.put_line(ServerLine("x", 0.0))
    assert inbox.lost_lines == lost and len(inbox.take(0.0)) == 1
