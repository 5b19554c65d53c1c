"""The fake PBS answers as the recorded OpenPBS did, and runs jobs as its nodes did."""

import re

import pytest
from pbs_fixture import FakePbs, wait_until
from pbs_transcripts import Recorded, one

from hpcsweep.schedulers.pbs.records import parse_dsv

CLOCK = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \w{3} [ \d]\d( at)? \d\d:\d\d(:\d\d \d{4})?")
SCRIPTS = ("jobs/exit.pbs", "jobs/arr.pbs", "jobs/show.pbs", "jobs/trap.pbs", "jobs/sig.pbs")
WHERE = {
    "jobs/exit.pbs": "04",
    "jobs/arr.pbs": "05",
    "jobs/show.pbs": "02",
    "jobs/trap.pbs": "20",
    "jobs/sig.pbs": "07",
}


@pytest.fixture
def site(pbs: FakePbs) -> FakePbs:
    """The recorded user's scripts, in this test's home."""
    for script in SCRIPTS:
        text = one(WHERE[script], f"cat {script}").stdout
        (pbs.home / script).write_text(text.replace("/home/hpcuser", str(pbs.home)))
    (pbs.jobs / "keepo.pbs").write_text("#!/bin/bash\necho hi\n")
    return pbs


def plain(site: FakePbs, text: str) -> str:
    """An answer without what differs from run to run: times, session ids, slots, this test's home."""
    text = text.replace(str(site.home), "/home/hpcuser")
    text = CLOCK.sub("<time>", text)
    text = re.sub(r'("timestamp"|"history_timestamp"|"session_id"):\t\d+', r"\1:\t0", text)
    text = re.sub(r"(session_id|history_timestamp) = \d+", r"\1 = 0", text)
    text = re.sub(r"pbshost/\d+", "pbshost/0", text)
    text = re.sub(r"\b\d\d:\d\d:\d\d\b", "<h:m:s>", text)
    text = re.sub(r"\b\d+kb", "0kb", text)
    text = re.sub(r'PBS_O_PATH("?[:=])\t?"?[^",\n]*', r"PBS_O_PATH\1", text)
    return text.replace(",\n\tPBS_O_PATH", ",PBS_O_PATH").replace("real\t", "").strip()


def same(site: FakePbs, recorded: Recorded) -> None:
    """The fake answers this command as the server did: stdout, stderr, exit code."""
    done = site.run(recorded.command, user=recorded.user)
    assert done.returncode == recorded.exit_code, done
    assert plain(site, done.stderr) == plain(site, recorded.stderr)
    assert plain(site, done.stdout) == plain(site, recorded.stdout)


REFUSALS = [
    ("10", "qsub -q nosuchq jobs/exit.pbs"),
    ("10", "qsub -q gpuq@nosuchserver jobs/exit.pbs"),
    ("10", "qsub -l select=1:ncpus=1:nosuch=1 jobs/exit.pbs"),
    ("10", "qsub -l nosuch=1 jobs/exit.pbs"),
    ("10", "qsub -l ngpus=1 jobs/exit.pbs"),
    ("10", "qsub -l select=1:ncpus=abc jobs/exit.pbs"),
    ("10", "qsub -l select=1:mem=lots jobs/exit.pbs"),
    ("10", "qsub -l walltime=abc jobs/exit.pbs"),
    ("10", "qsub -l walltime=1-00:00:00 jobs/exit.pbs"),
    ("10", "qsub -Z jobs/exit.pbs"),
    ("10", "qsub -W nosuchattr=1 jobs/exit.pbs"),
    ("10", "qsub -m x jobs/exit.pbs"),
    ("10", "qsub -p 5000 jobs/exit.pbs"),
    ("10", "qsub -j xx jobs/exit.pbs"),
    ("05", "cd jobs; qsub -h -J 5 arr.pbs"),
    ("05", "cd jobs; qsub -h -J 5-5 arr.pbs"),
    ("05", "cd jobs; qsub -h -J 1,3,5 arr.pbs"),
    ("05", "cd jobs; qsub -h -J 0-20000 arr.pbs"),
    ("05", "cd jobs; qsub -h -r n -J 0-1 arr.pbs"),
    ("09", "cd jobs; qsub -W depend=nosuch:110.pbshost exit.pbs"),
    ("09", "cd jobs; qsub -W depend=afterok:160[0].pbshost -N asub exit.pbs"),
    ("17", "qsub -h -N 'a b' jobs/keepo.pbs"),
    ("17", "qsub -h -N 'a/b' jobs/keepo.pbs"),
    ("17", "qsub -h -N 'ünï' jobs/keepo.pbs"),
    ("02", "qsub -v 'A=a,b,B=x' jobs/show.pbs"),
    ("02", "qsub -v \"A=it's,B=x\" jobs/show.pbs"),
    ("02", """qsub -v 'A={"a":1,"b":[2,3]},B=x' jobs/show.pbs"""),
    ("02", """qsub -v "A='{\\"a\\":1,\\"b\\":[2,3]}',B=x" jobs/show.pbs"""),
    ("02", "qsub -v 'A,B=x' jobs/show.pbs"),
    ("01", "qsub nosuch.pbs"),
    ("01", "printf '#!/bin/bash\\n#PBS -l foo=1\\necho\\n' | qsub"),
    ("01", "printf '#!/bin/bash\\n#PBS -N two words\\necho\\n' | qsub"),
    ("01", "printf '#!/bin/bash\\n#PBS -l select=1:ncpus=2 -l nodes=1\\necho body\\n' | qsub"),
    ("10", "qstat 999999"),
    ("10", "qstat -x -f -F json 999999"),
    ("10", "qstat abc"),
    ("10", "qstat -f -F json abc"),
    ("10", "qstat 1.otherserver"),
    ("10", "qdel 999999"),
    ("10", "qdel abc"),
    ("10", "qsig -s USR1 999999"),
    ("10", "qhold 999999"),
    ("10", "qrerun 999999"),
    ("10", "qstat -Q nosuchq"),
    ("10", "qstat nosuchq"),
    ("10", "qstat -x -F json"),
    ("14", "qselect -N nosuch"),
    ("14", "qselect -q nosuch"),
    ("14", "qdel"),
    ("13", "pbsnodes -v nosuchnode"),
    ("13", "qstat --version"),
    ("13", "qsub --version"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "command"), REFUSALS, ids=[command[:60] for _, command in REFUSALS])
def test_refusals_word_for_word(site, file, command):
    same(site, one(file, command))


@pytest.mark.parametrize(
    "command",
    [
        "qstat",
        "qsub jobs/exit.pbs",
        "qdel 346.pbshost",
        "qselect",
        "pbsnodes -a -F json",
        "qstat -f -F json 346.pbshost",
    ],
)
def test_server_down_word_for_word(site, command):
    recorded = one("11", f"time {command}")
    site.admin("down")
    done = site.run(command)
    assert done.returncode == recorded.exit_code
    assert done.stderr.strip() == recorded.stderr.partition("\n\nreal")[0].strip()
    assert plain(site, done.stdout) == plain(site, recorded.stdout)


def test_a_finished_job_word_for_word(site):
    site.admin("next 39")
    assert site.out("qsub -v CODE=0,S=0 jobs/exit.pbs") == "39.pbshost"
    assert site.out("qsub -v CODE=3,S=0 jobs/exit.pbs") == "40.pbshost"
    for number in ("39", "40"):
        site.wait_for(number, "F")
        recorded = one("04", f"qstat -x -f -F json {number}.pbshost")
        done = site.run(recorded.command)
        ours = plain(site, done.stdout).replace('"S":\t0,', "").replace(",S=0", "")
        assert re.sub(r"\s+", " ", ours) == re.sub(r"\s+", " ", plain(site, recorded.stdout))
    same(site, one("04", "qdel 39.pbshost"))
    done = site.run("qstat 39.pbshost")
    assert (done.returncode, done.stderr) == (35, one("01", "qstat 1.pbshost", 1).stderr.replace("1.pb", "39.pb"))


def test_held_and_waiting_jobs_word_for_word(site):
    site.admin("next 33")
    same(site, one("03", "qsub -h -N held jobs/exit.pbs"))
    same(site, one("03", "qstat 33.pbshost"))
    same(site, one("03", "qstat -f -F json 33.pbshost"))
    same(site, one("03", "qrls 33.pbshost"))
    site.wait_for("33", "F")
    site.admin("next 36")
    site.out("qsub -N filler -q gpuq -l select=4:ncpus=1:ngpus=8 -l walltime=00:10:00 -- /bin/sleep 600")
    same(site, one("03", "qsub -N waits -l select=1:ncpus=8:ngpus=8 -v S=3 jobs/exit.pbs"))
    same(site, one("03", "qstat -f -F json 37.pbshost"))
    same(site, one("03", "qhold 37.pbshost"))
    same(site, one("03", "qrls 37.pbshost"))
    site.run("qstat")
    same(site, one("03", "qdel 37.pbshost"))
    same(site, one("03", "qstat 37.pbshost", 1))
    same(site, one("03", "qstat -x -f -F json 37.pbshost"))


def test_an_array_word_for_word(site):
    site.admin("next 69")
    assert site.out("cd jobs; qsub -J 0-3 -v S=0,FAILIDX=2 arr.pbs") == "69[].pbshost"
    site.wait_for("69", "F")
    same(site, one("05", "qstat -x -t '69[].pbshost'"))
    same(site, one("05", "qstat '69[]'"))
    same(site, one("05", "qstat '69'"))
    recorded = one("05", "qstat -x -t -f -F json '69[].pbshost'")
    ours = plain(site, site.run(recorded.command).stdout).replace("S=0,", "S=8,").replace('"S":\t0', '"S":\t8')
    assert ours == plain(site, recorded.stdout)
    recorded = one("05", "qstat -x -f '69[2].pbshost'")
    ours = site.run(recorded.command).stdout
    assert "(gpunode1:ncpus=1:ngpus=1) and \n\tfailed\n" in ours  # wrapped at 79 columns
    drop = re.compile(r"    Variable_List = .*\n")
    unwrapped = [plain(site, text.replace("\n\t", "")) for text in (ours, recorded.stdout)]
    assert drop.sub("", unwrapped[0]) == drop.sub("", unwrapped[1])


def test_variables_arrive_as_they_did(site):
    """Quotes are dropped, backslashes doubled: every recorded value reaches the job as it was seen there."""
    cases = [
        ("qsub -v 'EXP_NAME=1B_no_eager,ENFORCE_EAGER=no,ENABLE_EP=yes,MAX_MODEL_LEN=32768' jobs/show.pbs",
         "EXP_NAME=<1B_no_eager>\nENFORCE_EAGER=<no>\nENABLE_EP=<yes>\nMAX_MODEL_LEN=<32768>"),
        ("qsub -v 'A=one two,B=x' jobs/show.pbs", "A=<one two>"),
        ("qsub -v 'A=k1=v1,B=x' jobs/show.pbs", "A=<k1=v1>"),
        ("qsub -v \"A='a,b',B=x\" jobs/show.pbs", "A=<a,b>"),
        ("qsub -v 'A=a\\,b,B=x' jobs/show.pbs", "A=<a,b>"),
        ("qsub -v 'A=say \"hi\" now,B=x' jobs/show.pbs", "A=<say hi now>"),
        ("qsub -v 'A=back\\slash,B=x' jobs/show.pbs", "A=<back\\\\slash>"),
        ("qsub -v 'A={\"temperature\":0.7},B=x' jobs/show.pbs", "A=<{temperature:0.7}>"),
        ("A=fromenv qsub -v 'A,B=x' jobs/show.pbs", "A=<fromenv>"),
        ("A='from,env with \"quotes\" and '\\''single'\\'' = eq' qsub -v A jobs/show.pbs",
         "A=<from,env with \\quotes\\ and \\single\\ = eq>"),
        ("A=$(printf 'l1\\nl2') qsub -v A jobs/show.pbs", "A=<l1\nl2>"),
        ("qsub -v A=1 -v B=2 jobs/show.pbs", "A unset\nB=<2>"),
    ]  # fmt: skip
    for command, expected in cases:
        assert one("02", command).exit_code == 0
        job = site.out(command)
        site.wait_for(job.partition(".")[0], "F")
        assert expected in (site.jobs / f"{job}.OU").read_text(), command


def test_the_environment_of_a_job(site):
    names = one("06", "cat jobs/envdump.o68 jobs/68.pbshost.OU 2>/dev/null").stdout
    recorded = set(re.search(r"== all variable names\n(.*)", names)[1].split())
    job = site.out("qsub -j oe -o jobs/ -l select=1:ncpus=4 -- /usr/bin/env")
    site.wait_for(job.partition(".")[0], "F")
    got = dict(line.split("=", 1) for line in (site.jobs / f"{job}.OU").read_text().splitlines())
    of_a_shell = {"_", "SHLVL", "PWD", "OLDPWD", "MANPATH"}
    assert recorded - of_a_shell <= set(got)
    assert {name for name in got if not name.startswith("FAKE_PBS_")} - recorded == set()
    assert (got["NCPUS"], got["PBS_JOBID"], got["HOME"]) == ("4", job, str(site.home))


def test_a_script_runs_below_a_login_shell_and_a_command_does_not(site):
    """qsig USR1 kills an ordinary script job; `qsub -- /bin/bash script` and its children go on."""
    script = site.out("cd jobs; qsub -l walltime=100 sig.pbs")
    direct = site.out(f"qsub -j oe -k od -o jobs/ -l walltime=200 -- /bin/bash {site.jobs}/sig.pbs")
    logs = [site.jobs / f"{job}.OU" for job in (script, direct)]
    for log in logs:
        wait_until(lambda log=log: log.exists() and "child pid" in log.read_text())
    for job in (script, direct):
        assert site.run(f"qsig -s SIGUSR1 {job}").returncode == 0
    ended = site.wait_for(script.partition(".")[0], "F")
    assert (ended["Exit_status"], ended["substate"]) == ("266", "93")
    wait_until(lambda: "shell got USR1" in logs[1].read_text() and "child python got SIGUSR1" in logs[1].read_text())
    assert site.attributes(direct.partition(".")[0])["job_state"] == "R"
    done = site.run(f"qsig -s BOGUS {direct}")
    assert (done.returncode, done.stderr.split(direct)[0]) == (165, "qsig: Unknown/illegal signal name ")


def test_walltime_is_told_and_then_enforced(site):
    site.admin("set server kill_delay=3.0")
    polite = site.out("cd jobs; qsub -l walltime=1 trap.pbs")
    deaf = site.out(
        "cd jobs; qsub -l walltime=1 -k od -j oe -o . -- /bin/bash -c 'trap : TERM; while :; do sleep 0.1; done'"
    )
    for job in (polite, deaf):
        a = site.wait_for(job.partition(".")[0], "F")
        assert (a["Exit_status"], a["substate"]) == ("-29", "93")
        assert a["comment"].endswith("and exceeded resource walltime")
        log = (site.jobs / f"{job}.OU").read_text()
        assert re.search(r"=>> PBS: job killed: walltime \d+ exceeded limit 1\n", log)
    assert "TERM, cleaning" in (site.jobs / f"{polite}.OU").read_text()


def test_qdel_of_a_running_job_and_of_a_queued_subjob(site):
    site.admin("set server kill_delay=1.0")
    running = site.out("cd jobs; qsub trap.pbs")
    log = site.jobs / f"{running}.OU"
    wait_until(lambda: log.exists() and "start" in log.read_text())
    site.out(f"qdel {running}")
    a = site.wait_for(running.partition(".")[0], "F")
    assert (a["Exit_status"], a["substate"]) == ("271", "91")
    assert a["comment"].endswith("and terminated by hpcuser@pbshost")
    array = site.out("cd jobs; qsub -J 0-3%1 -v S=60 arr.pbs").partition("[")[0]
    site.out(f"qdel '{array}[3].pbshost'")
    never_ran = parse_dsv(site.out(f"qstat -x -t -f -F dsv '{array}[].pbshost'"))[f"{array}[3].pbshost"]
    assert (never_ran["job_state"], never_ran["comment"]) == ("X", "Subjob finished")
    assert "run_count" not in never_ran
    site.out(f"qdel '{array}[].pbshost'")
    site.wait_for(array, "F")
    ends = list(parse_dsv(site.out(f"qstat -x -t -f -F dsv '{array}[].pbshost'")).values())[1:]
    assert [(e["substate"], e.get("run_count")) for e in ends] == [("91", "1"), *[("91", None)] * 3]


def test_a_rerun_keeps_the_id_and_appends_to_the_log(site):
    (site.home / "rr.pbs").write_text(
        "#!/bin/bash\n#PBS -j oe\n#PBS -k od\n#PBS -o jobs/\necho start $PBS_JOBID\nsleep ${S:-60}\necho end\n"
    )
    job = site.out("qsub rr.pbs")
    log = site.jobs / f"{job}.OU"
    wait_until(lambda: log.exists() and "start" in log.read_text())
    denied = site.run(f"qrerun {job}")
    assert (denied.returncode, denied.stderr) == (159, f"qrerun: Unauthorized Request  {job}\n")
    site.out(f"qrerun {job}", operator=True)
    wait_until(lambda: log.read_text().count(f"start {job}") == 2)
    assert site.attributes(job.partition(".")[0])["run_count"] == "2"
    fixed = site.out("qsub -r n rr.pbs")
    refused = site.run(f"qrerun {fixed}", operator=True)
    assert (refused.returncode, refused.stderr) == (190, f"qrerun: job is not rerunnable {fixed}\n")


@pytest.mark.parametrize(("rerunnable", "state", "status"), [("y", "R", None), ("n", "F", "-4")])
def test_a_node_that_restarts(site, rerunnable, state, status):
    job = site.out(f"qsub -r {rerunnable} -v S=60 jobs/exit.pbs").partition(".")[0]
    wait_until(lambda: "_sid" in site.attributes(job))
    site.admin("mom gpunode1 kill")
    assert site.attributes(job)["job_state"] == "R"
    done = site.run(f"qdel {job}")
    assert (done.returncode, done.stderr) == (222, f"qdel: Server could not connect to MOM {job}.pbshost\n")
    site.admin("mom gpunode1 start")
    a = site.wait_for(job, state)
    assert a.get("Exit_status") == status
    if state == "R":
        wait_until(lambda: site.attributes(job)["run_count"] == "2")


def test_dependencies(site):
    good, bad = (site.out(f"qsub -h -v S=0,CODE={code} jobs/exit.pbs") for code in (0, 3))
    wanted = (f"afterok:{good}", f"afternotok:{bad}", f"afterany:{bad}")
    met = [site.out(f"qsub -W depend={d} jobs/exit.pbs") for d in wanted]
    unmet = [site.out(f"qsub -W depend={d} jobs/exit.pbs") for d in (f"afterok:{bad}", f"afternotok:{good}")]
    assert site.attributes(met[0].partition(".")[0])["substate"] == "22"
    site.out(f"qrls {good} {bad}")
    for job in met:
        assert site.wait_for(job.partition(".")[0], "F")["Exit_status"] == "0"
    for job in unmet:
        a = site.wait_for(job.partition(".")[0], "F")
        assert "Exit_status" not in a
        assert a["substate"] == "92"


def test_history_off_and_purged(site):
    job = site.out("qsub -v S=0 jobs/exit.pbs")
    site.wait_for(job.partition(".")[0], "F")
    site.admin("purge")
    done = site.run(f"qstat -x {job}")
    assert (done.returncode, done.stderr) == (153, f"qstat: Unknown Job Id {job}\n")
    site.admin("set server job_history_enable=False")
    job = site.out("qsub -v S=0 jobs/exit.pbs")
    wait_until(lambda: job.partition(".")[0] not in site.state()["jobs"])


def test_json_of_several_ids_shows_only_the_first(site):
    for _ in range(3):
        site.out("qsub -h jobs/exit.pbs")
    assert re.findall(r'"(\d)\.pbshost"', site.out("qstat -x -f -F json 2 0 1")) == ["2"]
    assert len(site.out("qstat -x -f -F dsv 2 0 1").splitlines()) == 3
