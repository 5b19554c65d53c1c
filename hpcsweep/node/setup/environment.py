"""The environment of the server, what of it may be told, and the command as a person can repeat it."""

import shlex
from collections.abc import Mapping, Sequence

from hpcsweep.load.config import API_KEY_VARIABLE
from hpcsweep.spec.secret_values import HIDDEN as HIDDEN
from hpcsweep.spec.secret_values import masked_env


def server_environment(
    inherited: Mapping[str, str], exports: Mapping[str, str], launch: Mapping[str, str], cache: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """The whole environment of the server without its key, and the part that was set for it, fit to be told.

    What the experiment says of a cache folder holds; else ours. Variables whose name says that they are a secret are
    passed on and not told.
    """
    ours = {**exports, **cache, **launch}
    whole = {**inherited, **ours}
    whole.pop(API_KEY_VARIABLE, None)
    return whole, masked_env(ours)


def command_text(argv: Sequence[str], told: Mapping[str, str], exports: Mapping[str, str]) -> str:
    """command.txt: the server's command as a shell reads it. The axes' exports mean nothing to the engine."""
    lines = [
        f"{name}={shlex.quote(value)} \\"
        for name, value in sorted(told.items())
        if name not in exports and value != HIDDEN
    ]
    return "\n".join([*lines, shlex.join(argv)]) + "\n"
