"""Find the result blocks that a row or cell of a summary is about, by the request lengths or else by labels."""

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hpcsweep.imports.documents.model import Benchmark

_N = r"(?P<{0}>\d{{1,3}}(?:,\d{{3}})+|\d+(?:\.\d+)?)\s?(?P<{0}k>[kK])?"
_IN_OUT = (
    re.compile(
        _N.format("a")
        + r"\s?(?:tokens?\s)?(?:in|input)\b[^\d|]{0,20}?"
        + _N.format("b")
        + r"\s?(?:tokens?\s)?(?:out|output)\b",
        re.IGNORECASE,
    ),
    re.compile(
        r"\b(?:in|input|isl|prompt)(?:[ _-]?(?:len(?:gth)?|tokens?))?\s?[=:]?\s?"
        + _N.format("a")
        + r"[^\d|]{1,20}?\b(?:out|output|osl)(?:[ _-]?(?:len(?:gth)?|tokens?))?\s?[=:]?\s?"
        + _N.format("b"),
        re.IGNORECASE,
    ),
    re.compile(r"(?<![\w./])" + _N.format("a") + r"\s?(?:/|\u2192|:)\s?" + _N.format("b") + r"(?![\w./])"),
)
_IN = re.compile(r"(?<![\w./])" + _N.format("a") + r"[ -]?(?:tokens?\s)?(?:input|in|prompt)\b", re.IGNORECASE)
_DEFINED = re.compile(r"^\W{0,12}(?P<name>[A-Za-z][A-Za-z0-9 ()-]{2,40}?)\W{0,4}[:|]")
_WORD = re.compile(r"[a-z0-9]+(?:[.+][a-z0-9]+)*")
_GENERIC_WORDS = (
    "the a an of in on for and with by to at vs or is are as benchmark benchmarks case cases result results prompt "
    "prompts script serving serve server test tests run runs performance summary comparison table total mean median "
    "p99 p95 p90 average avg tps ttft tpot itl ms s sec tok tokens token output input throughput latency request "
    "requests req number random dataset model config configuration workload scaled same gpu gpus count without any "
    "optimizations"
)
_GENERIC = frozenset(_GENERIC_WORDS.split())
_BATCH = re.compile(r"\b(?:bs|batch[ _-]size|concurrency|conc|max[ _-]concurrency)\s?[=:]?\s?(?=\d)", re.IGNORECASE)
_KILO = 0.04
_SAME = {
    "optimised": "optimized",
    "base": "baseline",
    "default": "baseline",
    "vanilla": "baseline",
    "original": "baseline",
}
_CONFIG = frozenset(["baseline", "optimized", "tuned", "before", "after"])


@dataclass(frozen=True)
class RequestLengths:
    """Request lengths in tokens, as written in a text. `prompt`: the possible values. `output` None: not given."""

    prompt: tuple[float, ...]
    output: tuple[float, ...] | None

    def is_of(self, block: Benchmark) -> bool:
        """Return whether the requests of a block have these mean lengths; outputs may have ended early."""
        mean = lengths(block)
        if mean is None:
            return False
        prompt, output = mean
        near = any(abs(prompt - value) <= max(_KILO * value, 2) for value in self.prompt)
        return near and (self.output is None or any(0.5 * v <= output <= 1.03 * v for v in self.output))


@dataclass(frozen=True)
class BlockMatch:
    """The blocks that a cell is about. `sure`: the configuration is identified too, so no other block can be meant."""

    blocks: tuple[Benchmark, ...] = ()
    sure: bool = False
    shape: RequestLengths | None = None


def lengths(block: Benchmark) -> tuple[float, float] | None:
    """Return the mean tokens of prompt and output; None: the block does not state them."""
    requests = block.value("completed")
    prompt, output = block.value("total_input_tokens"), block.value("total_output_tokens")
    if not requests or prompt is None or output is None:
        return None
    return prompt / requests, output / requests


def shape_of(text: str) -> RequestLengths | None:
    """Return the lengths in a text: `1K in / 128 out`, `ISL=128, OSL=4`, `128/4`, `32K input`; None: none."""
    for pattern in _IN_OUT:
        match = pattern.search(text)
        if match:
            return RequestLengths(_values(match["a"], match["ak"]), _values(match["b"], match["bk"]))
    match = _IN.search(text)
    return RequestLengths(_values(match["a"], match["ak"]), None) if match else None


def _values(digits: str, kilo: str | None) -> tuple[float, ...]:
    value = float(digits.replace(",", ""))
    return (value * 1000, value * 1024) if kilo else (value,)


def words(text: str) -> frozenset[str]:
    """Return the words that distinguish a label from others."""
    plain = _BATCH.sub("batch", text.lower())
    return frozenset(_SAME.get(word, word) for word in _WORD.findall(plain) if word not in _GENERIC)


@dataclass
class BlockIndex:
    """The blocks of a document, its names for request lengths, and the labels of its blocks as words."""

    defined: Mapping[str, RequestLengths]
    of_block: Mapping[int, frozenset[str]]
    by_word: Mapping[str, Sequence[Benchmark]]
    by_prompt: Sequence[tuple[float, int, Benchmark]]
    _found: dict[tuple[str, str, str], BlockMatch] = field(default_factory=dict)

    @classmethod
    def of(cls, blocks: Sequence[Benchmark], lines: Sequence[str]) -> "BlockIndex":
        """Build the index of a document. `- Long prompt: 4000 input tokens, 200 output tokens` defines a name."""
        defined: dict[str, RequestLengths] = {}
        for line in lines:
            match = _DEFINED.match(line[:200])
            shape = shape_of(line[match.end() : 300]) if match else None
            if match and shape and shape.output is not None:
                defined.setdefault(_key(match["name"]), shape)
        of_block: dict[int, frozenset[str]] = {}
        by_word: dict[str, list[Benchmark]] = {}
        by_prompt: list[tuple[float, int, Benchmark]] = []
        for index, block in enumerate(blocks):
            label = words(" ".join((*block.context.headings[-1:], block.context.short, block.context.comment)))
            of_block[id(block)] = label
            for word in label:
                by_word.setdefault(word, []).append(block)
            mean = lengths(block)
            if mean is not None:
                by_prompt.append((mean[0], index, block))
        return cls(defined, of_block, by_word, sorted(by_prompt, key=lambda entry: entry[:2]))

    def case(self, row: str, column: str, above: str) -> BlockMatch:
        """Return the blocks of a cell by the texts of its row and column, and the text above the table."""
        key = (row, column, above)
        if key not in self._found:
            self._found[key] = self._case(*key)
        return self._found[key]

    def _case(self, row: str, column: str, above: str) -> BlockMatch:
        shape = shape_of(row) or self.defined.get(_key(re.sub(r"\([^()]*\)", "", row))) or shape_of(above)
        wanted = words(row) | words(column)
        if shape is not None:
            return self._by_config(self._of_shape(shape), wanted, shape)
        if not wanted or not all(word in self.by_word for word in wanted):
            return BlockMatch()
        rarest = min((self.by_word[word] for word in wanted), key=len)
        fitting = [
            block for block in rarest if wanted <= self.of_block[id(block)] and self._title_is_covered(block, wanted)
        ]
        return BlockMatch(tuple(fitting), sure=len(fitting) == 1)

    def _of_shape(self, shape: RequestLengths) -> list[Benchmark]:
        blocks: dict[int, Benchmark] = {}
        for value in shape.prompt:
            room = max(_KILO * value, 2)
            start = bisect_left(self.by_prompt, value - room, key=lambda entry: entry[0])
            for prompt, index, block in self.by_prompt[start:]:
                if prompt > value + room:
                    break
                if shape.is_of(block):
                    blocks[index] = block
        return [blocks[index] for index in sorted(blocks)]

    def _title_is_covered(self, block: Benchmark, wanted: frozenset[str]) -> bool:
        """Return whether every word of the block's own title is also in the cell."""
        return words(f"{block.context.short} {block.context.comment}") <= wanted

    def _by_config(self, fitting: Sequence[Benchmark], wanted: frozenset[str], shape: RequestLengths) -> BlockMatch:
        configs = wanted & _CONFIG
        named = [block for block in fitting if configs and configs <= self.of_block[id(block)]]
        if named:
            return BlockMatch(tuple(named), sure=True, shape=shape)
        return BlockMatch(tuple(fitting), sure=False, shape=shape)


def _key(name: str) -> str:
    return " ".join(sorted(words(name) | ({"prompt"} if "prompt" in name.lower() else set())))
