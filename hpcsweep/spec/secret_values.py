"""Detect secrets by their name or form, and mask them in texts. Pure.

A secret in an experiment or a profile would be copied into job scripts, job.json, the store and every report, and every
user of a machine can read the arguments of a process (/proc/PID/cmdline). So files must not contain secrets.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

HIDDEN = "(not written down)"
MASK = "***"

_WORD = (
    r"API_?KEYS?|KEY|TOKEN|SECRETS?|CREDENTIALS?|CREDS?|AUTH|PAT|JWT|BEARER|COOKIE|PASSPHRASE|DSN"
    r"|[A-Z0-9]*PASSWORD|[A-Z0-9]*PASSWD|[A-Z0-9]*(?<!BY)(?<!COM)PASS|[A-Z0-9]+_PWD"
)
_SECRET_NAME = re.compile(rf"(?i)(?:^|_)(?:{_WORD})(?:_|$)")
_ABOUT_A_SECRET = re.compile(
    r"(?i)_(?:FILE|PATH|DIR|MAP|IDS?|SOCK|NAME|TYPE|MODE|LEN|LENGTH|COUNT|LIMIT|BUDGET|SIZE|TIMEOUT|TTL)$"
)
"""Endings of names whose value is not the secret itself: `SSH_AUTH_SOCK`, `--speculative-token-map`."""
_NUMBERS_TOO = re.compile(r"(?i)PASS|PWD|SECRET|PIN")

_URL_PASSWORD = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^/\s:@'\"]*):(?!\$)[^@\s/'\"]+@")
_QUERY_PASSWORD = re.compile(r"(?i)([?&](?:password|passwd|pwd|token|api_?key|secret|sig(?:nature)?)=)[^&\s'\"]+")
_FORMS = re.compile(
    r"\bhf_[A-Za-z0-9]{20,}"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{16,}"
    r"|\bsk-[A-Za-z0-9_-]{20,}|\bnvapi-[A-Za-z0-9_-]{20,}|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAKIA[0-9A-Z]{16}\b"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
"""Tokens of Hugging Face, GitHub, GitLab, OpenAI, NVIDIA, Slack and AWS; JSON Web Tokens; private keys."""
_ASSIGNMENT = re.compile(r"(?<![\w$.-])(-{0,2}[A-Za-z_][\w-]*)=(\"[^\"]*\"|'[^']*'|[^\s;,&|]*)")

_NAMED_BY_THE_USER = frozenset({"env", "engine_args", "serve", "flags", "extra_body", "dataset"})
"""Keys below which every key is a name chosen by the user: a variable, a flag, a field of a request."""
_SHELL = frozenset({"setup", "directives", "commands", "options"})


def is_secret(name: str) -> bool:
    """Return whether a name belongs to a secret: `HF_TOKEN`, `GITHUB_PAT`, `PGPASSWORD`, `--api-key`."""
    plain = name.lstrip("-").replace("-", "_").replace(".", "_")
    return _SECRET_NAME.search(plain) is not None and _ABOUT_A_SECRET.search(plain) is None


def has_secret(text: str) -> bool:
    """Return whether `text` contains a token of a known service or a URL with a password."""
    return any(form.search(text) for form in (_FORMS, _URL_PASSWORD, _QUERY_PASSWORD))


def masked(text: str) -> str:
    """Return `text` with passwords of URLs, tokens of known services and values of secret names as `***`."""
    text = _URL_PASSWORD.sub(rf"\1:{MASK}@", text)
    text = _QUERY_PASSWORD.sub(rf"\1{MASK}", text)
    text = _FORMS.sub(MASK, text)
    return _ASSIGNMENT.sub(_mask_assigned, text)


def masked_env(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with the values of secrets replaced by `HIDDEN`."""
    return {name: HIDDEN if is_secret(name) or has_secret(value) else value for name, value in env.items()}


def secrets_of(document: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield (path of keys, name of the secret) of every secret in the values of an experiment or a profile."""
    if isinstance(document, dict):
        axis_of = document.get("env") or document.get("flag")
        if isinstance(axis_of, str) and "levels" in document and is_secret(axis_of):
            yield (*path, "levels"), axis_of
        named = any(key in _NAMED_BY_THE_USER for key in path)
        for key, value in document.items():
            key_path = (*path, key)
            if named and is_secret(str(key)) and _is_value(str(key), value):
                yield key_path, str(key)
            else:
                yield from secrets_of(value, key_path)
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from secrets_of(value, (*path, index))
    elif isinstance(document, str):
        in_shell = any(key in _SHELL for key in path)
        assigned = next(_assigned(document), None) if in_shell else None
        if assigned is not None or has_secret(document):
            yield path, assigned or next((str(key) for key in reversed(path) if isinstance(key, str)), "")


def _assigned(text: str) -> Iterator[str]:
    """Yield the names of secrets to which `text` assigns a value, also in `--export=NAME=VALUE`."""
    for match in _ASSIGNMENT.finditer(text):
        if _assigns(match):
            yield match[1]
        else:
            yield from _assigned(match[2])


def _mask_assigned(match: re.Match[str]) -> str:
    return f"{match[1]}={MASK if _assigns(match) else _ASSIGNMENT.sub(_mask_assigned, match[2])}"


def _is_value(name: str, value: Any) -> bool:
    """Return whether `value` can be a secret: booleans, empty texts and most numbers cannot."""
    if value is None or isinstance(value, (bool, dict)) or value == "":
        return False
    return not isinstance(value, (int, float)) or _NUMBERS_TOO.search(name) is not None


def _assigns(match: re.Match[str]) -> bool:
    """Return whether an assignment in a shell line gives a secret a literal value, not that of another variable."""
    value = match[2].strip("\"'")
    return is_secret(match[1]) and bool(value) and not value.startswith("$") and value != MASK
