"""`parallel` over several arrays: a scheduler limits each one by itself."""

import pytest

from hpcsweep.plan.jobs import parallel_shares


@pytest.mark.parametrize(
    ("sizes", "parallel", "shares"),
    [
        ([12], 4, [4]),
        ([12], None, [None]),
        ([1001, 1001], 4, [2, 2]),
        ([1001, 10], 4, [3, 1]),
        ([6, 2], 4, [3, 1]),
        ([1, 1, 1], 8, [1, 1, 1]),
        ([5, 5, 5], 2, [1, 1, 1]),
        ([4, 4], None, [None, None]),
    ],
)
def test_the_parts_add_up_to_parallel(sizes: list[int], parallel: int | None, shares: list[int | None]) -> None:
    assert parallel_shares(sizes, parallel) == shares
