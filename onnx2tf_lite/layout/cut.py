"""Minimum s-t cut, exact on integers of any size (Dinic's algorithm, 1970)."""

from __future__ import annotations

from collections import deque

INFINITE = 1 << 200


class FlowNetwork:
    """A directed network; node 0 is the source, node 1 the sink."""

    def __init__(self) -> None:
        self.head: list[int] = []
        self.room: list[int] = []
        self.arcs: list[list[int]] = [[], []]

    def node(self) -> int:
        """A new node."""
        self.arcs.append([])
        return len(self.arcs) - 1

    def arc(self, tail: int, head: int, capacity: int) -> None:
        """An arc that costs ``capacity`` when ``tail`` is on the source side and ``head`` is not."""
        for a, b, c in ((tail, head, capacity), (head, tail, 0)):
            self.arcs[a].append(len(self.head))
            self.head.append(b)
            self.room.append(c)

    def minimum_cut(self) -> tuple[int, list[bool]]:
        """(value, for every node whether it is on the source side); the source side is the smallest possible."""
        flow = 0
        while True:
            level = self._levels()
            if level[1] < 0:
                return flow, [depth >= 0 for depth in level]
            flow += self._blocking_flow(level)

    def _levels(self) -> list[int]:
        level = [-1] * len(self.arcs)
        level[0] = 0
        queue = deque([0])
        while queue:
            tail = queue.popleft()
            for arc in self.arcs[tail]:
                head = self.head[arc]
                if self.room[arc] and level[head] < 0:
                    level[head] = level[tail] + 1
                    queue.append(head)
        return level

    def _blocking_flow(self, level: list[int]) -> int:
        """Depth-first augmentation along the level graph, without recursion."""
        pointer = [0] * len(self.arcs)
        path: list[int] = []
        total, node = 0, 0
        while True:
            if node == 1:
                amount = min(self.room[arc] for arc in path)
                for arc in path:
                    self.room[arc] -= amount
                    self.room[arc ^ 1] += amount
                total += amount
                first = next(i for i, arc in enumerate(path) if not self.room[arc])
                node = self.head[path[first] ^ 1]
                del path[first:]
                continue
            arcs = self.arcs[node]
            while pointer[node] < len(arcs):
                arc = arcs[pointer[node]]
                if self.room[arc] and level[self.head[arc]] == level[node] + 1:
                    break
                pointer[node] += 1
            if pointer[node] < len(arcs):
                path.append(arcs[pointer[node]])
                node = self.head[path[-1]]
            elif path:
                node = self.head[path.pop() ^ 1]
                pointer[node] += 1
            else:
                return total
