"""A prefix cache over prompts, in blocks of tokens, the least recently used block dropped first."""

from collections import OrderedDict
from collections.abc import Sequence


class PrefixCache:
    """Which prompt prefixes have been seen, and how many tokens were asked for and found."""

    def __init__(self, block_tokens: int, capacity_tokens: int) -> None:
        self._block_tokens = block_tokens
        self._capacity = max(1, capacity_tokens // block_tokens)
        self._blocks: OrderedDict[int, None] = OrderedDict()
        self.queried_tokens = 0
        self.hit_tokens = 0

    def take(self, tokens: Sequence[object], salt: str | None = None) -> int:
        """The number of tokens at the start of a prompt that are cached; the whole prompt is cached afterwards.

        Only blocks of requests with the same `salt` are found, as with vLLM's `cache_salt`. At least one token is
        always computed, as in vLLM: the first new token needs it.
        """
        found, key, unbroken = 0, hash(salt), True
        usable = (len(tokens) - 1) // self._block_tokens
        for number in range(len(tokens) // self._block_tokens):
            start = number * self._block_tokens
            key = hash((key, tuple(tokens[start : start + self._block_tokens])))
            unbroken = unbroken and key in self._blocks
            if unbroken and number < usable:
                found += self._block_tokens
            self._blocks[key] = None
            self._blocks.move_to_end(key)
        while len(self._blocks) > self._capacity:
            self._blocks.popitem(last=False)
        self.queried_tokens += len(tokens)
        self.hit_tokens += found
        return found
