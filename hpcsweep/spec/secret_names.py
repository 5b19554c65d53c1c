"""Which variables hold a secret, by their names: they are passed on, and never written into a report or an export."""

import re

_SECRET = re.compile(r"(?i)(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(?:_|$)")


def is_secret(name: str) -> bool:
    """Whether the name of a variable says that its value is a secret: `HF_TOKEN`, `API_KEY`, `DB_PASSWORD`."""
    return _SECRET.search(name) is not None
