"""Built-in axes that have a new name. Without pydantic: the simulated engine reads this when it starts."""

RENAMED_AXES = {"batched_tokens": "max_num_batched_tokens", "seqs": "max_num_seqs"}
"""Old name of a built-in axis -> its name."""


def axis_name(name: str) -> str:
    """Return the current name of an axis that may be given by its old one."""
    return RENAMED_AXES.get(name, name)
