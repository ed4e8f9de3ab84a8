"""RNN, GRU and LSTM.  Axis names: T steps, B batch, I input, H hidden, D directions, G gates.

The input's share of all gates is one FULLY_CONNECTED over all steps; the recurrence is a WHILE whose state is explicit,
so that nothing survives from one call to the next (TFLite's own LSTM keeps its state).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ..ir import build as b
from ..ir.dims import Dim
from ..ir.graph import Value
from ..record import record
from ._loops import iterate, put, scalar, zeros
from .registry import UnsupportedError, current_node, every, op

Unary = Callable[[Value], Value]
State = list[Value]
# (gates of the input [B,G*H], state, parameters that are the same in every step) -> new state, h first
Cell = Callable[[Value, State, list[Value | None]], State]

# activations with parameters, and their defaults; those without are handlers of the same name
PARAMETERS = {
    "leakyrelu": (0.01,),
    "thresholdedrelu": (1.0,),
    "elu": (1.0,),
    "hardsigmoid": (0.2, 0.5),
    "affine": (1.0, 0.0),
    "scaledtanh": (1.0, 1.0),
}
OWN = {"affine": lambda x, alpha, beta: x * alpha + beta, "scaledtanh": lambda x, alpha, beta: b.tanh(x * beta) * alpha}


def _activations(names: Sequence[str], alpha: Sequence[float] | None, beta: Sequence[float] | None) -> list[Unary]:
    """The functions; alpha and beta are handed out in order to those that take them."""
    alphas, betas = iter(alpha or ()), iter(beta or ())
    known = {name.lower(): entry.handler for (domain, name), entry in every().items() if not domain}

    def make(name: str) -> Unary:
        given = dict(zip(("alpha", "beta"), _next(PARAMETERS.get(name, ()), alphas, betas), strict=False))
        function = OWN.get(name) or known.get(name)
        if function is None:
            raise UnsupportedError(f"activation {name} is not known", "use one that the ONNX standard lists")
        return lambda x: function(x, **given)  # type: ignore[return-value]

    return [make(name.lower()) for name in names]


def _next(defaults: Sequence[float], *given: Iterator[float]) -> list[float]:
    return [next(values, default) for default, values in zip(defaults, given, strict=False)]


@record
class Network:
    """What the three operators share; weights as in ONNX: w[D,G*H,I], r[D,G*H,H], bias[D,2*G*H]."""

    x: Value
    w: Value
    r: Value
    bias: Value | None
    lengths: Value | None
    initial: Sequence[Value | None]
    direction: str
    layout: int
    hidden: int

    def run(
        self, cells: Sequence[Cell], parameters: Callable[[int], list[Value | None]], fold: int
    ) -> list[Value | None]:
        """Y[T,D,B,H] and the final states [D,B,H]; ``fold`` leading gates take the recurrent bias with the input's."""
        x = b.transpose(self.x, (1, 0, 2)) if self.layout else self.x
        reverse = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[self.direction]
        wanted = current_node().wants(0)
        runs = [
            self._one(x, d, back, cell, parameters(d), fold, wanted)
            for d, (back, cell) in enumerate(zip(reverse, cells, strict=True))
        ]
        y, *states = (None if parts[0] is None else b.pack(parts, 0) for parts in zip(*runs, strict=True))
        if y is not None:  # [D,T,B,H]
            y = b.transpose(y, (2, 1, 0, 3) if self.layout else (1, 0, 2, 3))
        return [y, *(b.transpose(s, (1, 0, 2)) if self.layout and s is not None else s for s in states)]

    def _one(
        self, x: Value, d: int, reverse: bool, cell: Cell, parameters: list[Value | None], fold: int, wanted: bool
    ) -> list[Value | None]:
        """[Y[T,B,H], *states[B,H]] of direction ``d``."""
        steps, batch, _ = x.shape
        ragged = self.lengths is not None
        if reverse and ragged:
            x = self._reversed(x)
        gates = b.fully_connected(x, pick(self.w, d), self._bias(d, fold))
        lengths = b.pinned(b.cast(self.lengths, np.int32), (batch,)) if self.lengths is not None else None
        state = [self._initial(v, d, batch, lengths) for v in self.initial]

        def advance(i: Value, t: Value | None, states: State, seen: list[Value | None]) -> tuple[Value, State]:
            every, lengths, *rest = seen
            now = b.gather(every, t) if t is not None else b.reshape(every, every.shape[1:])  # type: ignore[union-attr]
            new = cell(now, states, rest)
            if lengths is None:
                return new[0], new
            alive = b.less(i, lengths)
            alive = b.reshape(alive, (*alive.shape, 1))
            return b.where(alive, new[0], np.float32(0)), [
                b.where(alive, n, o) for n, o in zip(new, states, strict=True)
            ]

        invariants = [gates, lengths, *parameters]
        if steps == 1:
            h, state = advance(b.lift(np.int32(0)), None, state, invariants)
            y: Value | None = b.reshape(h, (1, *h.shape))
        else:
            buffer = [zeros((steps, batch, self.hidden))] if wanted else []

            def step(i: Value, states: State, seen: list[Value | None]) -> State:
                t = scalar(steps) - 1 - i if reverse and not ragged else i
                h, new = advance(i, t, states[len(buffer) :], seen)
                return [*(put(states[0], t, h) for _ in buffer), *new]

            state = iterate(steps, [*buffer, *state], invariants, step)
            y = state.pop(0) if wanted else None
        if y is not None and reverse and ragged:
            y = self._reversed(y)
        return [y, *state]

    def _reversed(self, x: Value) -> Value:
        """The first ``lengths[b]`` steps of each sequence backwards."""
        assert self.lengths is not None
        return b.emit("REVERSE_SEQUENCE", x, b.cast(self.lengths, np.int32), seq_dim=0, batch_dim=1)

    def _bias(self, d: int, fold: int) -> Value | None:
        if self.bias is None:
            return None
        w, r = b.split(pick(self.bias, d), [self.bias.shape[1] // 2] * 2, 0)
        kept = b.narrow(r, 0, 0, fold * self.hidden)
        return w + b.pad(kept, [(0, w.shape[0] - kept.shape[0])])

    def _initial(self, value: Value | None, d: int, batch: Dim, lengths: Value | None) -> Value:
        """[B,H]; zero for a sequence without steps: the standard leaves that open, ONNX Runtime returns zeros."""
        if value is None:
            return zeros((batch, self.hidden))
        given = b.pinned(pick(b.transpose(value, (1, 0, 2)) if self.layout else value, d), (batch, self.hidden))
        if lengths is None or (lengths.data is not None and lengths.data.all()):
            return given
        return b.where(b.less(np.int32(0), b.reshape(lengths, (*lengths.shape, 1))), given, np.float32(0))


def pick(x: Value, d: int) -> Value:
    """Entry ``d`` of the leading axis."""
    return b.reshape(b.narrow(x, 0, d, 1), x.shape[1:])


def _clipper(clip: float | None) -> Unary:
    return (lambda x: x) if not clip else (lambda x: b.clip(x, -float(clip), float(clip)))


def _per_direction(functions: list[Unary], count: int) -> list[list[Unary]]:
    return [functions[i : i + count] for i in range(0, len(functions), count)]


def _gates(x: Value, hidden: int) -> list[Value]:
    return b.split(x, [hidden] * (int(x.shape[-1]) // hidden), -1)  # type: ignore[arg-type]


Floats = Sequence[float] | None


def _sizes(direction: str, hidden_size: int | None, r: Value) -> tuple[int, int]:
    """(directions, hidden units), which the program needs as numbers."""
    hidden = hidden_size or r.shape[2]
    if not isinstance(hidden, int):
        raise UnsupportedError("a hidden size that is only known at run time", "give the attribute hidden_size")
    return 2 if direction == "bidirectional" else 1, hidden


def _weights(
    x: Value, w: Value, r: Value, bias: Value | None, count: int, rows: int, hidden: int
) -> tuple[Value, Value, Value | None]:
    """The weights with extents that are known although those of the model are not; ``rows`` = gates * hidden."""
    w, r = b.pinned(w, (count, rows, x.shape[2])), b.pinned(r, (count, rows, hidden))
    return w, r, None if bias is None else b.pinned(bias, (count, 2 * rows))


@op("RNN")
def rnn(x: Value, w: Value, r: Value, bias: Value | None = None, sequence_lens: Value | None = None,
        initial_h: Value | None = None, *, activation_alpha: Floats = None, activation_beta: Floats = None,
        activations: Sequence[str] | None = None, clip: float | None = None, direction: str = "forward",
        hidden_size: int | None = None, layout: int = 0) -> list[Value | None]:  # fmt: skip
    """h = f(x W + h R + b)."""
    limit = _clipper(clip)
    count, hidden = _sizes(direction, hidden_size, r)
    w, r, bias = _weights(x, w, r, bias, count, hidden, hidden)
    functions = _activations(activations or ["Tanh"] * count, activation_alpha, activation_beta)

    def cell(f: Unary) -> Cell:
        return lambda g, state, rest: [f(limit(g + b.fully_connected(state[0], rest[0])))]

    network = Network(x, w, r, bias, sequence_lens, [initial_h], direction, layout, hidden)
    return network.run([cell(f) for f in functions], lambda d: [pick(r, d)], 1)


@op("GRU")
def gru(x: Value, w: Value, r: Value, bias: Value | None = None, sequence_lens: Value | None = None,
        initial_h: Value | None = None, *, activation_alpha: Floats = None, activation_beta: Floats = None,
        activations: Sequence[str] | None = None, clip: float | None = None, direction: str = "forward",
        hidden_size: int | None = None, layout: int = 0,
        linear_before_reset: int = 0) -> list[Value | None]:  # fmt: skip
    """Gates z, r, h: h' = (1 - z) * n + z * h, n from the reset state; an attribute orders reset and product."""
    limit, (count, hidden) = _clipper(clip), _sizes(direction, hidden_size, r)
    w, r, bias = _weights(x, w, r, bias, count, 3 * hidden, hidden)
    names = activations or ["Sigmoid", "Tanh"] * count
    functions = _per_direction(_activations(names, activation_alpha, activation_beta), 2)

    def cell(f: Unary, g: Unary) -> Cell:
        def step(gates: Value, state: State, rest: list[Value | None]) -> State:
            (h,), (whole, first, last, last_bias) = state, rest
            if linear_before_reset:
                z, reset, n = _gates(gates, hidden)
                from_z, from_r, from_n = _gates(b.fully_connected(h, whole, last_bias), hidden)
                z, reset = f(limit(z + from_z)), f(limit(reset + from_r))
                n = g(limit(n + reset * from_n))
            else:
                both, n = b.split(gates, [2 * hidden, hidden], -1)
                z, reset = _gates(f(limit(both + b.fully_connected(h, first))), hidden)
                n = g(limit(n + b.fully_connected(reset * h, last)))
            return [n + z * (h - n)]

        return step

    def parameters(d: int) -> list[Value | None]:
        whole = pick(r, d)
        if linear_before_reset:
            tail = None if bias is None else b.narrow(pick(bias, d), 0, 5 * hidden, hidden)
            return [whole, None, None, None if tail is None else b.pad(tail, [(2 * hidden, 0)])]
        return [None, b.narrow(whole, 0, 0, 2 * hidden), b.narrow(whole, 0, 2 * hidden, hidden), None]

    network = Network(x, w, r, bias, sequence_lens, [initial_h], direction, layout, hidden)
    return network.run([cell(*fs) for fs in functions], parameters, 2 if linear_before_reset else 3)


@op("LSTM")
def lstm(x: Value, w: Value, r: Value, bias: Value | None = None, sequence_lens: Value | None = None,
         initial_h: Value | None = None, initial_c: Value | None = None, p: Value | None = None, *,
         activation_alpha: Floats = None, activation_beta: Floats = None, activations: Sequence[str] | None = None,
         clip: float | None = None, direction: str = "forward", hidden_size: int | None = None, input_forget: int = 0,
         layout: int = 0) -> list[Value | None]:  # fmt: skip
    """Gates i, o, f, c; p[D,3*H] are the peepholes of i, o, f."""
    limit, (count, hidden) = _clipper(clip), _sizes(direction, hidden_size, r)
    w, r, bias = _weights(x, w, r, bias, count, 4 * hidden, hidden)
    p = None if p is None else b.pinned(p, (count, 3 * hidden))
    names = activations or ["Sigmoid", "Tanh", "Tanh"] * count
    functions = _per_direction(_activations(names, activation_alpha, activation_beta), 3)

    def cell(f: Unary, g: Unary, out: Unary) -> Cell:
        def step(gates: Value, state: State, rest: list[Value | None]) -> State:
            (h, c), (weights, *peep) = state, rest
            i, o, forget, n = _gates(gates + b.fully_connected(h, weights), hidden)

            def gate(value: Value, hole: Value | None, cell_state: Value) -> Value:
                return f(limit(value if hole is None else value + hole * cell_state))

            i = gate(i, peep[0], c)
            forget = 1 - i if input_forget else gate(forget, peep[2], c)
            c = forget * c + i * g(limit(n))
            return [gate(o, peep[1], c) * out(c), c]

        return step

    def parameters(d: int) -> list[Value | None]:
        return [pick(r, d), *([None] * 3 if p is None else b.split(pick(p, d), [hidden] * 3, 0))]

    network = Network(x, w, r, bias, sequence_lens, [initial_h, initial_c], direction, layout, hidden)
    return network.run([cell(*fs) for fs in functions], parameters, 4)
