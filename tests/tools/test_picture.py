"""The places of nodes: nobody overlaps, everything is below what it reads, and large graphs are quick."""

from __future__ import annotations

import random
from collections import defaultdict
from itertools import pairwise

import pytest

from onnx2tf_lite.tools._picture import LONGEST, draw

Edges = list[tuple[int, int]]


def dag(count: int, seed: int, reach: int) -> Edges:
    """Every node but the first reads one or two of the ``reach`` nodes before it."""
    rng = random.Random(seed)
    return sorted(
        {(rng.randrange(max(0, i - reach), i), i) for i in range(1, count) for _ in range(rng.choice([1, 2]))}
    )


@pytest.mark.parametrize("reach", [1, 3, 40, 400])
def test_nobody_overlaps_and_all_is_below_what_it_reads(reach: int) -> None:
    edges = dag(400, seed=reach, reach=reach)
    picture = draw(400, edges)
    for a, b in edges:
        assert picture.places[a][1] < picture.places[b][1]
    rows = defaultdict(list)
    for x, y in picture.places:
        rows[y].append(x)
    for row in rows.values():
        row.sort()
        assert all(b - a > 1 - 1e-6 for a, b in pairwise(row))


def test_a_connection_goes_around_what_lies_between() -> None:
    """0 -> 1 -> 2 -> 3 with 0 -> 3: the direct one passes layers 1 and 2 beside the nodes there."""
    picture = draw(4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    direct = picture.lines[3]
    assert [y for _, y in direct] == [0, 1, 2, 3]
    for (x, y), node in zip(direct[1:3], (1, 2), strict=True):
        assert y == picture.places[node][1] and abs(x - picture.places[node][0]) > 1 - 1e-6


def test_what_reads_nothing_stands_above_its_reader() -> None:
    """A chain of 5, and a node without inputs whose only reader is the last."""
    picture = draw(6, [(0, 1), (1, 2), (2, 3), (4, 5), (3, 5)])
    assert picture.places[4][1] == picture.places[5][1] - 1


def test_longer_connections_take_no_places() -> None:
    chain = [(i, i + 1) for i in range(LONGEST + 5)]
    picture = draw(LONGEST + 6, [*chain, (0, LONGEST + 5)])
    assert len(picture.lines[-1]) == 2


@pytest.mark.parametrize("count", [0, 1])
def test_hardly_anything(count: int) -> None:
    assert len(draw(count, []).places) == count
