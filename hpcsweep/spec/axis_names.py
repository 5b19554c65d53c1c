"""Words of axes that the simulated engine shares: renamed axes, on and off. Without pydantic, which starts slowly."""

TRUE_WORDS = frozenset({"on", "yes", "true"})
FALSE_WORDS = frozenset({"off", "no", "false"})

RENAMED_AXES = {"batched_tokens": "max_num_batched_tokens", "seqs": "max_num_seqs"}
"""Old name of a built-in axis -> its name."""


def axis_name(name: str) -> str:
    """Return the current name of an axis that may be given by its old one."""
    return RENAMED_AXES.get(name, name)
