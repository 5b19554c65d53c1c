"""Read the folder names of `vllm bench sweep`: `SERVE--max_num_seqs=4-BENCH--max_concurrency=2-num_prompts=8`."""

import re

_PART = re.compile(r"(?:^|-)(?P<kind>SERVE|BENCH)--")
_NEXT = re.compile(r"-(?=[A-Za-z_][\w.]*=)")


def folder_parameters(name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the parameters of the server and of the load in a folder name; empty: not such a folder."""
    parts = list(_PART.finditer(name))
    parameters: dict[str, dict[str, str]] = {"SERVE": {}, "BENCH": {}}
    for number, part in enumerate(parts):
        end = parts[number + 1].start() if number + 1 < len(parts) else len(name)
        for pair in _NEXT.split(name[part.end() : end]):
            key, equals, text = pair.partition("=")
            if equals and key:
                parameters[part["kind"]][key] = text
    return parameters["SERVE"], parameters["BENCH"]
