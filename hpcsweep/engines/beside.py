"""Find a command that is installed together with an engine, on the node or in the image. Pure."""


def find_beside(command: str) -> str:
    """Return lines for /bin/sh that set `$found` to `command` next to `$executable`, else on PATH; they end the shell
    when there is none.
    """
    return f"""
found={command}
case $executable in */*) [ ! -x "${{executable%/*}}/$found" ] || found=${{executable%/*}}/$found ;; esac
if ! command -v "$found" >/dev/null; then
    echo "hpcsweep: {command} is not installed: it is neither next to $executable nor on PATH" >&2
    exit 127
fi
"""
