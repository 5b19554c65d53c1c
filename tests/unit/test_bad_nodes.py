"""Which nodes are suspected, and which are not."""

from hpcsweep.analysis.bad_nodes import bad_nodes
from hpcsweep.analysis.rows import AttemptRow, RunRow
from hpcsweep.spec.phases import OutcomeKind, RunState


def attempt(host, outcome, job_id="1_0"):
    return AttemptRow(
        attempt=1, host=host, job_id=job_id, engine="vllm", simulated=False, time_scale=1, outcome=outcome, phase=None
    )


def run(variant, *attempts, outcome=None, node=None, job=None, source="run folder"):
    return RunRow(
        run=variant, sweep="s", variant_id=variant, repeat=1, axes={}, engine="vllm", model="m", gpus=1,
        state=RunState.FINISHED, outcome=outcome, node=node, job=job, source=source, attempts=attempts,
    )  # fmt: skip


def names(*runs):
    return [node.node for node in bad_nodes(runs)]


def test_two_variants_that_crashed_there():
    crashed = OutcomeKind.CRASHED
    assert names(run("a", attempt("n1", crashed)), run("b", attempt("n1", crashed))) == ["n1"]
    assert names(run("a", attempt("n1", crashed)), run("a", attempt("n1", crashed))) == []
    good = run("c", attempt("n1", OutcomeKind.COMPLETED))
    assert names(run("a", attempt("n1", crashed)), run("b", attempt("n1", crashed)), good) == []
    full = OutcomeKind.OUT_OF_MEMORY  # no fault of the node
    assert names(run("a", attempt("n1", full)), run("b", attempt("n1", full))) == []


def test_a_node_that_was_lost_under_agents_which_could_not_say_so():
    lost = [
        run(v, attempt("n2", None, f"1_{v}"), outcome=OutcomeKind.LOST, node="n2", source="scheduler") for v in "ab"
    ]
    assert names(*lost) == ["n2"]


def test_a_node_that_starts_no_job_takes_one_after_the_other():
    never = [run(v, outcome=OutcomeKind.NOT_RUN, node="n3", job=f"1_{v}", source="scheduler") for v in "ab"]
    assert names(*never) == ["n3"]
    # What an agent did not get to, or one whose element died with another run of it, says nothing of the node.
    assert names(*(run(v, outcome=OutcomeKind.NOT_RUN, node="n3", job="1_0") for v in "ab")) == []
    packed = [run(v, outcome=OutcomeKind.NOT_RUN, node="n3", job="1_0", source="scheduler") for v in "ab"]
    assert names(run("c", attempt("n3", OutcomeKind.LOST)), *packed) == []
