"""The execution daemon for one job: starts it as pbs_mom does, watches its walltime, carries out qdel and qsig."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fakepbs import history, scheduling
from fakepbs.state import SERVER, locked, root

WAKE = signal.SIGUSR1


def session(sid: int) -> list[int]:
    """Processes of a session; one that called setsid is not among them, as on the real node."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == sid and fields[0] != "Z":
                    members.append(int(entry.name))
    return members


def signal_session(sid: int, number: int) -> None:
    """A signal to every process of the job."""
    for pid in session(sid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def split(key: str) -> tuple[str, str | None]:
    number, _, rest = key.partition("[")
    return number, rest.rstrip("]") or None


class Mom:
    """One job on one node."""

    def __init__(self, key: str) -> None:
        self.number, self.index = split(key)
        with locked() as state:
            job = state["jobs"][self.number]
            self.job = job
            self.a = dict(job["a"] if self.index is None else job["subjobs"][self.index])
            self.server = dict(state["server"])
            self.kill_delay = state["queues"][job["a"]["queue"]].get("kill_delay", self.server["kill_delay"])
        self.id = scheduling.ident(job, self.index)
        limit = job["a"].get("Resource_List.walltime")
        self.limit_s = scheduling.seconds(limit) if limit else 0
        self.folder = root()
        self.kill_at: float | None = None
        self.why: str | None = None

    def environment(self) -> dict[str, str]:
        """What a job of the recorded server finds; nothing of the submitter's but -v."""
        import pwd

        account = pwd.getpwuid(os.getuid())
        a, variables = self.job["a"], dict(
            item.split("=", 1) for item in self.job["a"]["Variable_List"].split(",") if item.startswith("PBS_O_")
        )  # fmt: skip
        nodefile = self.folder / "aux" / self.id
        nodefile.parent.mkdir(exist_ok=True)
        where = self.a["_where"]
        hosts = [SERVER if len(where) == 1 else vnode for vnode, _ in where]
        lines = zip(hosts, (part.get("mpiprocs", 1) for _, part in where), strict=True)
        nodefile.write_text("".join(f"{host}\n" * times for host, times in lines))
        self.tmpdir = self.folder / "tmp" / f"pbs.{self.id}"
        self.tmpdir.mkdir(parents=True, mode=0o700, exist_ok=True)
        cpus = str(self.a["_where"][0][1]["ncpus"])
        env = {
            "ENVIRONMENT": "BATCH", "HOME": self.job["home"], "LOGNAME": account.pw_name, "USER": account.pw_name,
            "SHELL": "/bin/bash", "NCPUS": cpus, "OMP_NUM_THREADS": cpus, "TMPDIR": str(self.tmpdir),
            "PATH": f"/usr/local/bin:/usr/bin:/bin:{Path(__file__).resolve().parent.parent}",
            "PBS_ENVIRONMENT": "PBS_BATCH", "PBS_JOBCOOKIE": secrets.token_hex(16).upper(),
            "PBS_JOBDIR": self.job["home"], "PBS_JOBID": self.id, "PBS_JOBNAME": a["Job_Name"],
            "PBS_MOMPORT": "15003", "PBS_NODEFILE": str(nodefile),
            "PBS_NODENUM": "0", "PBS_QUEUE": a["queue"], "PBS_TASKNUM": "1", **variables,
            **self.job["variables"], **self.job["fakes"], "FAKE_PBS_DIR": str(self.folder),
        }  # fmt: skip
        if self.index is not None:
            env |= {"PBS_ARRAY_INDEX": self.index, "PBS_ARRAY_ID": scheduling.ident(self.job, None)}
        return env

    def destination(self, letter: str) -> Path:
        """Where a stream ends up: DIR/<id>.OU, a file, or NAME.o12."""
        path = self.job["a"]["Output_Path" if letter == "o" else "Error_Path"].partition(":")[2]
        path = path.replace("^array_index^", self.index or "^array_index^")
        return Path(path) / f"{self.id}.{'OU' if letter == 'o' else 'ER'}" if path.endswith("/") else Path(path)

    def run(self) -> None:
        """The job from its start to its end."""
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD, WAKE])
        a = self.job["a"]
        live = "d" in a["Keep_Files"]
        spool = self.folder / "spool"
        spool.mkdir(exist_ok=True)
        self.out = self.destination("o") if live else spool / f"{self.id}.OU"
        self.err = self.destination("e") if live else spool / f"{self.id}.ER"
        joined = a["Join_Path"] == "oe"
        try:
            out = self.out.open("ab")
            err = out if joined else self.err.open("ab")
        except OSError as exc:
            sys.stderr.write(f"{self.id}: {exc}\n")
            self.finish(-2)
            return
        argv, stdin = self.command(out)
        if argv is None:
            self.finish(254)
            return
        env = self.environment()
        if argv[:2] == ["/bin/bash", "-l"] or stdin:
            # A login shell with the login files of the job's own home: those of this machine may put a real PBS first.
            argv = [word for word in argv if word != "-l"]
            env["BASH_ENV"] = str(self.login_file())
        self.process = subprocess.Popen(
            argv, executable="/bin/bash" if stdin else None, stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=out, stderr=err, cwd=self.job["home"], env=env, start_new_session=True, umask=0o077,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD, WAKE]),
        )  # fmt: skip
        self.sid = self.process.pid
        with locked() as state:
            self.record(state)["_sid"] = self.sid
            self.record(state)["session_id"] = str(self.sid)
        if stdin:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(stdin)
                self.process.stdin.close()
        self.watch(out)
        self.finish(self.process.returncode)

    def login_file(self) -> Path:
        path = self.folder / "aux" / "login.sh"
        text = "unset BASH_ENV\n[ ! -r ~/.bash_profile ] || . ~/.bash_profile\n"
        if not path.exists():
            beside = path.with_name(f"{path.name}.{self.id}")
            beside.write_text(text)
            beside.replace(path)
        return path

    def command(self, out) -> tuple[list[str] | None, bytes]:
        """The argv, and what a login shell reads from its pipe: an ordinary script runs below one."""
        direct = self.job["argv"]
        if direct is None:
            return ["bash"], f"{self.job['script']}\n".encode()
        if shutil.which(direct[0]) is None:
            out.write(f"pbs_mom, exec of {direct[0]} failed with error: No such file or directory\n".encode())
            return None, b""
        return direct, b""

    def record(self, state: dict) -> dict:
        job = state["jobs"][self.number]
        return job["a"] if self.index is None else job["subjobs"][self.index]

    def watch(self, out) -> None:
        """Until the job's first process is gone: signals, the walltime, the grace period of a kill."""
        deadline = self.a["_started"] + self.limit_s + self.server["mom_poll_s"] if self.limit_s else None
        self.requests(None)
        while self.process.poll() is None:
            waits = [t for t in (deadline, self.kill_at) if t is not None]
            pause = max(0.0, min(waits) - time.time()) if waits else 3600.0
            got = signal.sigtimedwait([signal.SIGCHLD, WAKE], pause)
            now = time.time()
            if got is not None and got.si_signo == WAKE:
                self.requests(now)
            if deadline is not None and now >= deadline:
                used = max(self.limit_s + 1, int(now - self.a["_started"]))
                out.write(f"=>> PBS: job killed: walltime {used} exceeded limit {self.limit_s}\n".encode())
                out.flush()
                deadline, self.why = None, "walltime"
                self.terminate(now)
            if self.kill_at is not None and now >= self.kill_at:
                signal_session(self.sid, signal.SIGKILL)
                self.kill_at = now + 1
        # The login shell may die of the SIGTERM before the script below it has run its trap: the script has its time.
        while self.kill_at is not None and time.time() < self.kill_at and session(self.sid):
            time.sleep(0.05)
        signal_session(self.sid, signal.SIGKILL)

    def terminate(self, now: float) -> None:
        self.kill_at = now + self.kill_delay
        signal_session(self.sid, signal.SIGTERM)

    def requests(self, now: float | None) -> None:
        """What qdel, qsig and qrerun have asked for since."""
        with locked() as state:
            asked = self.record(state).pop("_request", [])
        for kind, value in asked:
            if kind == "delete":
                self.why = f"deleted by {value}"
                self.terminate(now or time.time())
            elif kind == "rerun":
                self.why = "rerun"
                signal_session(self.sid, signal.SIGKILL)
            else:
                signal_session(self.sid, value)

    def finish(self, code: int) -> None:
        """Tell the server, which then starts what waits."""
        status = 256 - code if code < 0 and code != -2 else code
        with locked() as state:
            a = self.record(state)
            late = [kind for kind, _ in a.pop("_request", []) if kind == "delete"]
            if self.why is None and late:
                self.why = "deleted by its owner"
            a["job_state"], a["substate"] = "E", "51"
        stage = self.stage_out() if self.why != "rerun" else "1"
        with locked() as state:
            job, a = state["jobs"][self.number], self.record(state)
            used = int(time.time() - self.a["_started"])
            a |= {
                "Stageout_status": stage, "resources_used.cpupercent": "0", "resources_used.cput": "00:00:00",
                "resources_used.mem": "7360kb", "resources_used.ncpus": str(self.a["_where"][0][1]["ncpus"]),
                "resources_used.vmem": "10380kb", "resources_used.walltime": scheduling.hms(used),
            }  # fmt: skip
            if self.why == "rerun":
                requeue(job, self.index)
            elif self.why == "walltime":
                history.end(state, job, self.index, -29, " and exceeded resource walltime", "93")
            elif self.why is not None:
                history.end(state, job, self.index, status, f" and terminated by {job['a']['Job_Owner']}", "91")
            else:
                words, substate = (" and finished", "92") if status == 0 else (" and failed", "93")
                history.end(state, job, self.index, status, words, substate)
            scheduling.cycle(state)
        shutil.rmtree(getattr(self, "tmpdir", self.folder / "tmp" / "none"), ignore_errors=True)

    def stage_out(self) -> str:
        """Logs that were spooled go where they belong; into a missing folder they are not delivered."""
        good = "1"
        for letter, path in (("o", self.out), ("e", self.err)):
            target = self.destination(letter)
            if path == target or not path.exists():
                continue
            try:
                shutil.move(path, target)
            except OSError:
                undelivered = self.folder / "undelivered"
                undelivered.mkdir(exist_ok=True)
                shutil.move(path, undelivered / path.name)
                good = "0"
        return good


def requeue(job: dict, index: str | None) -> None:
    """Back into the queue with the same id: run_count goes up when it starts again."""
    a = job["a"] if index is None else job["subjobs"][index]
    for gone in "_mom _sid _request _where exec_vnode exec_host session_id stime Stageout_status".split():  # noqa: SIM905
        a.pop(gone, None)
    a |= {"job_state": "Q", "substate": "10"}
    if index is not None:  # its own record is gone until it starts again
        runs = a.pop("run_count", "0")
        job["subjobs"][index] = {"job_state": "Q", "substate": "10", "_runs": runs}
        job["a"]["Exit_status"] = "2"
        history.count(job)


if __name__ == "__main__":
    Mom(sys.argv[1]).run()
