"""Where the nodes of a graph are drawn: in layers, each below what it reads, next to what they are connected with.

The layered drawing of Sugiyama, Tagawa and Toda (IEEE SMC-11, 1981): longest paths give the layers, places are kept on
every layer that a connection passes, and each layer is moved towards the mean of its neighbours in turn.  The places of
one layer in given order, not closer than 1, nearest to where they want to be in the sense of least squares, are an
isotonic regression (pool adjacent violators), which takes linear time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

SWEEPS = 6
LONGEST = 40  # layers that a connection keeps places on; a longer one is drawn through whatever is there


@dataclass
class Picture:
    """``places`` of the nodes as (x, layer), in units of a node; ``lines``: the points of every connection."""

    places: list[tuple[float, int]]
    lines: list[list[tuple[float, int]]] = field(default_factory=list)


def draw(count: int, edges: Sequence[tuple[int, int]]) -> Picture:
    """``count`` nodes in topological order; ``edges`` (from, to), with from < to."""
    layer = _layers(count, edges)
    above: defaultdict[int, list[int]] = defaultdict(list)
    below: defaultdict[int, list[int]] = defaultdict(list)
    paths: list[list[int]] = []
    for start, end in edges:
        passed = range(layer[start] + 1, layer[end]) if layer[end] - layer[start] <= LONGEST else ()
        path = [start, *range(len(layer), len(layer) + len(passed)), end]
        layer += passed
        paths.append(path)
        for a, b in pairwise(path):
            above[b].append(a)
            below[a].append(b)
    rows: list[list[int]] = [[] for _ in range(max(layer, default=-1) + 1)]
    for item, place in enumerate(layer):
        rows[place].append(item)
    x = [0.0] * len(layer)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            _arrange(row, x, above if down else below)
    return Picture([(x[i], layer[i]) for i in range(count)], [[(x[i], layer[i]) for i in p] for p in paths])


def _layers(count: int, edges: Iterable[tuple[int, int]]) -> list[int]:
    """The longest path to each node; what nothing leads to stands directly above its first reader."""
    readers: defaultdict[int, list[int]] = defaultdict(list)
    reads: defaultdict[int, list[int]] = defaultdict(list)
    for start, end in edges:
        readers[start].append(end)
        reads[end].append(start)
    layer = [0] * count
    for node in range(count):
        layer[node] = max((layer[i] + 1 for i in reads[node]), default=0)
    for node in range(count):
        if not reads[node] and readers[node]:
            layer[node] = min(layer[i] for i in readers[node]) - 1
    return layer


def _arrange(row: list[int], x: list[float], neighbours: Mapping[int, list[int]]) -> None:
    """Order a layer by where its items want to be, and put each there, or as near as the others let it."""
    wanted = {i: sum(x[n] for n in near) / len(near) if (near := neighbours.get(i)) else x[i] for i in row}
    row.sort(key=wanted.__getitem__)
    blocks: list[tuple[float, int]] = []  # mean of what the items of a block want, each less its place in the row
    for place, item in enumerate(row):
        total, size = wanted[item] - place, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / size:
            before = blocks.pop()
            total, size = total + before[0], size + before[1]
        blocks.append((total, size))
    means = [total / size for total, size in blocks for _ in range(size)]
    for place, item in enumerate(row):
        x[item] = means[place] + place
