"""The types of the load process's lines, compared with the models of the event log."""

from typing import get_args, get_type_hints

import pytest

from hpcsweep.events.load_lines import (
    AGENT_FIELDS,
    SampleLine,
    WarningLine,
    WorkloadEndedLine,
    WorkloadStartedLine,
    warning_line,
)
from hpcsweep.events.records import EVENT, SampleDone, Warned, WorkloadEnded, WorkloadStarted
from hpcsweep.spec.phases import ColdKind, ErrorCause, TokenSource

ADDED_BY_THE_AGENT = {"cache_reset", "server_figures"}


@pytest.mark.parametrize(
    ("line", "model"),
    [(SampleLine, SampleDone), (WorkloadStartedLine, WorkloadStarted), (WorkloadEndedLine, WorkloadEnded),
     (WarningLine, Warned)],
)  # fmt: skip
def test_a_line_has_the_fields_of_its_event(line, model):
    written = set(line.__required_keys__ | line.__optional_keys__)
    assert written == set(model.model_fields) - set(AGENT_FIELDS) - ADDED_BY_THE_AGENT
    hints = get_type_hints(line)
    differ = {name for name in written if hints[name] != model.model_fields[name].annotation}
    assert differ <= {"tokens_from", "closed_loop"}  # a member's value; optional in older records


def test_the_words_of_samples_are_those_of_the_enums():
    assert get_args(SampleDone.model_fields["tokens_from"].annotation) == tuple(source.value for source in TokenSource)
    for members in (ColdKind, ErrorCause, TokenSource):
        assert all(str(member) == f"{member}" == member.value for member in members)


def test_a_line_with_the_fields_of_the_agent_is_an_event():
    common = {"run_id": "s/r", "attempt": 1, "seq": 0, "at": 0.0, "t_s": 0.0}
    event = EVENT.validate_python({**warning_line("some_code", "careful", "why"), **common})
    assert isinstance(event, Warned) and (event.code, event.message, event.detail) == ("some_code", "careful", "why")
