"""An algebra of linear maps: what convolutions, average pools, products, scales and the identity have in common.

A map takes a tensor x of channels on a grid, continued with zeros beyond its borders, to

    y[o, p] = bias[o] + sum over i, t of  weights[o, i, t] * x[i, p * stride + start + t * step]

with one stride, start and step for each axis of the grid (none for a product with a matrix).  The number of positions p
is floor((n - 1 + slack) / stride) + 1 for a grid of n.  In this form, maps of equal strides and slack are added by
adding the weights of equal places, and maps of which one looks at a single place are composed by multiplying matrices.
Everything is exact in real arithmetic; numbers are float64.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..record import record


@record
class LinearMap:
    """``weights`` [outputs, inputs / groups, *window], ``bias`` [outputs]; the other fields as above, by axis of the
    grid.  Weights that nothing was computed of are those of the model, where they lie; what is computed is float64."""

    weights: np.ndarray
    bias: np.ndarray
    groups: int
    strides: tuple[int, ...]
    steps: tuple[int, ...]
    starts: tuple[int, ...]
    slack: tuple[int, ...]
    tiles: bool = False
    """The windows lie side by side and cover x exactly, so that beyond its borders they see nothing but zeros."""

    @property
    def frame(self) -> tuple[object, ...]:
        """Equal for maps that can be added: whatever x is, they give y at the same places."""
        return self.inputs, self.outputs, self.strides, self.slack

    @property
    def window(self) -> tuple[int, ...]:
        """Places that are looked at, by axis."""
        return self.weights.shape[2:]

    @property
    def ends(self) -> tuple[int, ...]:
        """Where the last tap lies, seen from the position."""
        return tuple(a + d * (k - 1) for a, d, k in zip(self.starts, self.steps, self.window, strict=True))

    @property
    def inputs(self) -> int:
        """Channels of x."""
        return int(self.weights.shape[1]) * self.groups

    @property
    def outputs(self) -> int:
        """Channels of y."""
        return len(self.weights)

    @property
    def is_pointwise(self) -> bool:
        """True where y at a place depends on x at the same place alone."""
        still = all(s == 1 for s in self.strides) and not any(self.slack)
        return still and not any(self.starts) and math.prod(self.window) == 1

    def pads(self) -> list[int]:
        """Zeros before and after every axis, as ONNX's Conv lists them."""
        return [-a for a in self.starts] + [a + e for a, e in zip(self.slack, self.ends, strict=True)]

    def scaled(self, factor: np.ndarray | float) -> LinearMap:
        """The map with every channel of y times ``factor``, one number or [outputs]."""
        column = np.broadcast_to(np.asarray(factor, np.float64), self.outputs)
        weights = self.weights * column.reshape(-1, *[1] * (self.weights.ndim - 1))
        return replace(self, weights=weights, bias=self.bias * column)

    def raised(self, summand: np.ndarray | float) -> LinearMap:
        """The map with ``summand``, one number or [outputs], added to every channel of y."""
        return replace(self, bias=self.bias + summand)

    def regrouped(self, groups: int) -> LinearMap:
        """The same map in fewer groups, a divisor of the present ones: zeros between what was apart."""
        if groups == self.groups:
            return self
        together = self.groups // groups
        rows, columns = self.outputs // self.groups, self.weights.shape[1]
        blocks = self.weights.reshape(groups, together, rows, columns, *self.window)
        wide = np.zeros((groups, together, rows, together, columns, *self.window))
        each = np.arange(together)
        wide[:, each, :, each] = blocks.swapaxes(0, 1)
        return replace(self, weights=wide.reshape(self.outputs, -1, *self.window), groups=groups)


def diagonal(factor: np.ndarray, grid: int) -> LinearMap:
    """y = factor * x per channel, on a grid of that many axes."""
    one, none = (1,) * grid, (0,) * grid
    weights = np.asarray(factor, np.float64).reshape(-1, 1, *one)
    return LinearMap(weights, np.zeros(len(weights)), len(weights), one, one, none, none)


@record
class Frame:
    """The places that several maps look at together."""

    groups: int
    steps: tuple[int, ...]
    starts: tuple[int, ...]
    window: tuple[int, ...]

    @classmethod
    def around(cls, maps: list[LinearMap]) -> Frame:
        """The smallest lattice that has the places of all ``maps``."""
        starts = tuple(map(min, zip(*(m.starts for m in maps), strict=True)))
        ends = tuple(map(max, zip(*(m.ends for m in maps), strict=True)))
        distances = (
            [d for m in maps for d in (m.starts[i] - first, m.steps[i] if m.window[i] > 1 else 0)]
            for i, first in enumerate(starts)
        )
        steps = tuple(math.gcd(*column) or 1 for column in distances)
        window = tuple((e - a) // d + 1 for a, e, d in zip(starts, ends, steps, strict=True))
        return cls(math.gcd(*(m.groups for m in maps)), steps, starts, window)


def sum_size(maps: list[LinearMap]) -> int:
    """Numbers in the weights of the sum."""
    frame = Frame.around(maps)
    return maps[0].outputs * (maps[0].inputs // frame.groups) * math.prod(frame.window)


def added(maps: list[LinearMap]) -> LinearMap:
    """(A + B + ...) x = A x + B x + ...: weights of equal places, and biases, added."""
    frame, first = Frame.around(maps), maps[0]
    weights = np.zeros((first.outputs, first.inputs // frame.groups, *frame.window))
    for one in maps:
        lattice = zip(one.starts, one.steps, one.window, frame.starts, frame.steps, strict=True)
        places = (slice(None), slice(None)) + tuple(
            slice((a - start) // step, (a - start) // step + (d * (k - 1)) // step + 1, max(d // step, 1))
            for a, d, k, start, step in lattice
        )
        weights[places] += one.regrouped(frame.groups).weights
    bias = np.sum([m.bias for m in maps], axis=0)
    return replace(first, weights=weights, bias=bias, groups=frame.groups, steps=frame.steps, starts=frame.starts)


def composable(outer: LinearMap, inner: LinearMap) -> bool:
    """True where ``outer(inner(x))`` is one map: one of them looks at one place, or ``inner`` at tiles.

    Where ``outer`` looks beyond the border it sees zeros, not the bias of ``inner``: there must be none.
    """
    padded = any(outer.pads())
    if outer.inputs != inner.outputs or (padded and inner.bias.any()):
        return False
    side_by_side = inner.tiles and inner.window == inner.strides and all(d == 1 for d in outer.steps)
    return inner.is_pointwise or side_by_side or (math.prod(outer.window) == 1 and not padded)


def composed_size(outer: LinearMap, inner: LinearMap) -> int:
    """Numbers in the weights of the composition."""
    places = math.prod(outer.window) * math.prod(inner.window)
    return outer.outputs * (inner.inputs // math.gcd(outer.groups, inner.groups)) * places


def composing(outer: LinearMap, inner: LinearMap) -> int:
    """Multiplications that it takes to compose two maps."""
    return composed_size(outer, inner) * (inner.outputs // math.gcd(outer.groups, inner.groups))


def composed(outer: LinearMap, inner: LinearMap) -> LinearMap:
    """``outer(inner(x))`` of two composable maps: (A B) x + (A b + a)."""
    groups, grid = math.gcd(outer.groups, inner.groups), len(outer.window)
    wide, narrow = outer.regrouped(groups), inner.regrouped(groups)
    a = wide.weights.reshape(groups, outer.outputs // groups, inner.outputs // groups, -1).astype(np.float64)
    b = narrow.weights.reshape(groups, inner.outputs // groups, inner.inputs // groups, -1).astype(np.float64)
    left, right = a.transpose(0, 1, 3, 2), b.reshape(*b.shape[:2], -1)
    product = left.reshape(groups, -1, a.shape[2]) @ right  # as matrices: einsum would not ask BLAS
    each = product.reshape(*left.shape[:3], *b.shape[2:]).transpose(0, 1, 3, 2, 4)  # goitu
    each = each.reshape(outer.outputs, -1, *outer.window, *inner.window)
    pairs = [axis for i in range(grid) for axis in (2 + i, 2 + grid + i)]  # places of outer, and in each those of inner
    window = [k * m for k, m in zip(outer.window, inner.window, strict=True)]
    weights = each.transpose(0, 1, *pairs).reshape(*each.shape[:2], *window)
    through = np.einsum("gomt,gm->go", a, inner.bias.reshape(groups, -1)).reshape(-1)
    axes = list(zip(outer.strides, outer.starts, outer.slack, inner.strides, inner.starts, inner.slack, strict=True))
    return LinearMap(
        weights,
        through + outer.bias,
        groups,
        strides=tuple(s * r for s, _, _, r, _, _ in axes),
        steps=tuple(
            d if k > 1 or m == 1 else e
            for d, k, m, e in zip(outer.steps, outer.window, inner.window, inner.steps, strict=True)
        ),
        starts=tuple(p * r + q for _, p, _, r, q, _ in axes),
        slack=tuple(p * r + q for _, _, p, r, _, q in axes),
    )
