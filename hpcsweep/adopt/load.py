"""Read the load that a script sends with the benchmark of vLLM or SGLang."""

from collections.abc import Sequence
from dataclasses import dataclass

from hpcsweep.adopt.variables import ShellVariables
from hpcsweep.shell import SimpleCommand, unquoted

_INPUT = ("--random-input-len", "--random-input", "--input-len")
_OUTPUT = ("--random-output-len", "--random-output", "--output-len")


@dataclass(frozen=True)
class BenchmarkLoad:
    """A benchmark command. `line`: its line in the script. None: the option is not given."""

    line: int
    input_len: int | None
    output_len: int | None
    requests: int | None
    concurrency: int | None
    dataset: str


def read_load(command: SimpleCommand, variables: ShellVariables) -> BenchmarkLoad | None:
    """Return the load that a command sends; None: it is not a supported benchmark."""
    words = [unquoted(word) for word in command.words]
    joined = " ".join(words)
    known = "vllm bench serve" in joined or "sglang.bench_serving" in joined or "benchmark_serving.py" in joined
    if not known or words[0] in ("echo", "printf"):
        return None
    texts = [variables.text(word) for word in command.words]

    def number(*names: str) -> int | None:
        value = _value(texts, names)
        return int(value) if value is not None and value.isdigit() else None

    return BenchmarkLoad(
        command.line.first,
        number(*_INPUT),
        number(*_OUTPUT),
        number("--num-prompts", "--num-prompt"),
        number("--max-concurrency"),
        _value(texts, ("--dataset-name",)) or "random",
    )


def _value(texts: Sequence[str | None], names: Sequence[str]) -> str | None:
    for index, text in enumerate(texts):
        name, sep, value = (text or "").partition("=")
        if name in names:
            return value if sep else (texts[index + 1] if index + 1 < len(texts) else None)
    return None
