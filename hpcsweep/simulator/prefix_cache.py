"""A prefix cache of prompts in blocks of tokens; the least recently used block is evicted first."""

from collections import OrderedDict
from collections.abc import Sequence


class PrefixCache:
    """Remembers prompt prefixes, and counts queried tokens and hits."""

    def __init__(self, block_tokens: int, capacity_tokens: int) -> None:
        self._block_tokens = block_tokens
        self._capacity = max(1, capacity_tokens // block_tokens)
        self._blocks: OrderedDict[int, None] = OrderedDict()
        self.queried_tokens = 0
        self.hit_tokens = 0

    def take(self, tokens: Sequence[object], salt: str | None = None) -> int:
        """Cache a prompt; return how many tokens at its start were cached before.

        Only blocks of requests with the same `salt` match, as with vLLM's `cache_salt`. As in vLLM, at least one token
        is always computed, because the first new token depends on it.
        """
        cached, key, unbroken = 0, hash(salt), True
        usable = (len(tokens) - 1) // self._block_tokens
        for number in range(len(tokens) // self._block_tokens):
            start = number * self._block_tokens
            key = hash((key, tuple(tokens[start : start + self._block_tokens])))
            unbroken = unbroken and key in self._blocks
            if unbroken and number < usable:
                cached += self._block_tokens
            self._blocks[key] = None
            self._blocks.move_to_end(key)
        while len(self._blocks) > self._capacity:
            self._blocks.popitem(last=False)
        self.queried_tokens += len(tokens)
        self.hit_tokens += cached
        return cached
