# ruff: noqa: TID253 - part of make_exports.py
"""Small networks around one group of operators each: activations, pads, masks, indices, control flow."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from case import Case, Fn, b, conv, conv_bn, f, i
from torch import nn


class ScriptedIf(nn.Module):
    """Two branches that read an outer tensor; which one is taken depends on the data."""

    def __init__(self):
        super().__init__()
        self.small, self.large = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        y = x * 2 + 1
        # A plain `if` on a tensor: torch.jit.script turns it into If.
        return self.large(y) if bool(x.sum() > 0) else torch.tanh(self.small(x)) - y[:, :3]


class ScriptedLoop(nn.Module):
    """A `for` over a number of steps that is an input: Loop with a carried state."""

    def __init__(self):
        super().__init__()
        self.step = nn.Linear(4, 4)

    def forward(self, x, steps: torch.Tensor):
        for k in range(int(steps)):
            x = torch.tanh(self.step(x)) + x * 0.5 + k
        return x


class ScriptedWhile(nn.Module):
    """A `while` on the data: Loop with a condition and without a trip count."""

    def forward(self, x):
        count = torch.zeros([1])
        while bool(x.abs().max() > 1):
            x = x * 0.7
            count = count + 1
        return x, count


class TorchCond(nn.Module):
    """torch.cond, the dynamo exporter's If."""

    def __init__(self):
        super().__init__()
        self.small, self.large = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda v: self.large(v), lambda v: torch.tanh(self.small(v)), (x,))


def sample_grid(m, x):
    """Rotate and stretch by a learnt matrix; the grid is computed in the graph."""
    theta = torch.tanh(m.locate(F.adaptive_avg_pool2d(x, 1).flatten(1))).view(-1, 2, 3)
    grid = (m.base.reshape(1, -1, 3) @ theta.transpose(1, 2)).view(-1, 6, 10, 2)
    border = F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return border, F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def base_grid() -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 6), torch.linspace(-1, 1, 10), indexing="ij")
    return torch.stack((x, y, torch.ones_like(x)), -1)


def where_clamp(m, x, keep):
    y = m.conv(x).clamp(-1.5, 2.0)
    y = torch.where(y > 0, y, y.exp() - 1)
    y = y.masked_fill(~keep, -3.0)
    return torch.minimum(torch.maximum(y, x[:, :1]), torch.tensor(1.0)), y.clamp(min=0.25)


def argmax_topk(m, x):
    scores = m.net(x).flatten(2)
    best, places = scores.softmax(-1).topk(3, dim=-1)
    return best, places, scores.argmax(1), scores.argmin(-1, keepdim=True), torch.sort(scores, -1, descending=True)[0]


def cumsum_roll_flip(m, x):
    y = m.conv(x)
    return y.cumsum(1), y.cumsum(-1), torch.roll(y, (1, -2), (1, 3)), torch.flip(y, (2, 3)), y.flip(1)


def pads(m, x):
    a = m.conv(F.pad(x, (1, 2, 2, 1), mode="reflect"))
    c = m.conv(F.pad(x, (2, 1, 1, 2), mode="replicate"))
    d = m.conv(F.pad(x, (0, 3, 3, 0), value=0.5))
    return a + c + d, F.pad(a, (-1, -1, 0, -2)), F.pad(x, (0, 0, 0, 0, 1, 2))


def unfold(m, x):
    columns = F.unfold(x, 3, padding=1, stride=2)
    return (m.weight @ columns).view(1, 4, 4, 5)


def gather_scatter(m, x, ids):
    rows = m.table.index_select(0, ids)
    picked = x.gather(1, ids[:, None].expand(-1, x.shape[2])[None])
    spread = torch.zeros(1, 6, 4).scatter(1, ids[:, None].expand(-1, 4)[None], x[:, :5])
    return rows, picked, spread, x[:, ids], m.table[ids, ids % 4]


def scatter_nd(m, x, ids):
    y = x.clone()
    y[:, 1:3] = 0.5
    y[0, ids] = m.table[ids]
    return y, F.one_hot(ids, 6).float() @ m.table


def reductions(m, x):
    y = m.conv(x)
    spread = y.var((2, 3)), y.std(1), y.norm(dim=1), y.abs().sum((1, 2)), torch.logsumexp(y, 1)
    return (*spread, y.amax((0, 2)), y.amin(-1), y.mean((1, 2, 3)), y[:, :, :2, :2].prod(-1), y.abs().amax(1) > 1)


def slices(m, x):
    a, c, d = x.split((1, 3, 2), 1)
    y = torch.cat([a, d, c[:, ::2]], 1)
    p, q = y[..., 1:-1, ::3].unbind(-1)[:2]
    return y[:, :, 5:1, :2].sum() + p, torch.stack((p, q), 1), y[:, -2:, ..., -1], x.narrow(2, 1, 3)[:, None].squeeze(0)


def broadcasts(m, x, y):
    z = x.unsqueeze(2) - y.unsqueeze(1)
    near = z.pow(2).sum(-1).sqrt()
    tiled = x.repeat(1, 2, 2), x[:, :1].expand(2, 3, 4), x.repeat_interleave(2, 1)
    return near, *tiled, torch.baddbmm(near, x, y.transpose(1, 2), alpha=0.5), F.cosine_similarity(x, y[:, :3], dim=-1)


def mathematics(m, x):
    y = x.abs() + 0.1
    rounds = x.floor() + x.ceil() - x.round() + x.sign() + torch.fmod(x * 3, 2.0) + torch.remainder(x * 3, 2.0)
    waves = x.sin() * x.cos() + x.tan().clamp(-2, 2) + torch.atan(x) + torch.erf(x) + torch.acos(x.tanh())
    powers = y.log() + y.rsqrt() + y.reciprocal() + x.exp() + y**1.5 + torch.log1p(y)
    return rounds, waves, powers, torch.atan2(x, y)


def integers(m, ids, others):
    logic = (ids > others) & (ids != 3) | ~(others >= 2)
    whole = torch.div(ids, others + 1, rounding_mode="floor") + ids % (others + 1) - ids.clamp(1, 5) * 2
    return whole, logic, ids.float().mean(1), (ids.to(torch.int32) + 1) // 2, torch.max(ids, others).sum(1), -ids.abs()


def shapes(m, x):
    """Shape arithmetic: sizes read from the input, used in views, ranges and fills."""
    n, c, h, w = x.shape
    rows = torch.arange(h, dtype=torch.float32)[:, None] / h + torch.arange(w, dtype=torch.float32)[None] / w
    y = m.conv(torch.cat([x, rows.expand(n, 1, h, w), x.new_ones(n, 1, h, w)], 1))
    return y.view(n, -1, h // 2, 2, w).mean(3), x.new_zeros(n, h).add(c), y.flatten(1).unflatten(1, (4, h * w))


ACTIVATIONS = {
    "activations_relu_kind": (
        nn.PReLU(8), nn.ELU(0.7), nn.SELU(), nn.LeakyReLU(0.2), nn.CELU(1.3), nn.ReLU6(), nn.Hardtanh(-0.5, 1.5),
        nn.PReLU(), nn.Threshold(0.0, 0.0), nn.ReLU(),
    ),
    "activations_sigmoid_kind": (
        nn.Mish(), nn.SiLU(), nn.Hardswish(), nn.GELU(), nn.GELU("tanh"), nn.Softplus(), nn.Softplus(2.0, 5.0),
        nn.Hardsigmoid(), nn.Tanh(), nn.Sigmoid(), nn.Softsign(), nn.LogSigmoid(), nn.Softmax(1), nn.LogSoftmax(1),
        nn.Softmin(-1), nn.Hardshrink(0.3), nn.Softshrink(0.2), nn.Tanhshrink(),
    ),
}  # fmt: skip


def parallel(m, x):
    """Each activation on its own convolution's output (so that fusion is possible), all returned."""
    return tuple(act(layer(x)) for layer, act in zip(m.convs, m.acts, strict=True))


def activations(name: str) -> Fn:
    acts = ACTIVATIONS[name]
    return Fn(parallel, convs=nn.ModuleList(conv(3, 8) for _ in acts), acts=nn.ModuleList(acts))


IMAGE = {"image": f(1, 3, 8, 10)}
ROWS = {"x": f(2, 4)}

CASES = [
    *(Case(name, lambda name=name: activations(name), IMAGE, ("ts13", "dynamo")) for name in ACTIVATIONS),
    Case(
        "grid_sample",
        lambda: Fn(sample_grid, locate=nn.Linear(3, 6), base=base_grid()),
        {"image": f(2, 3, 12, 16)},
        ("ts17",),
    ),
    Case(
        "where_clamp_masked_fill",
        lambda: Fn(where_clamp, conv=conv(3, 4)),
        IMAGE | {"keep": b(1, 1, 8, 10)},
        ("ts13",),
    ),
    Case("argmax_topk", lambda: Fn(argmax_topk, net=conv_bn(3, 5)), IMAGE, ("ts13",)),
    Case("cumsum_roll_flip", lambda: Fn(cumsum_roll_flip, conv=conv(3, 4)), IMAGE, ("ts11",)),
    Case("pads", lambda: Fn(pads, conv=conv(3, 4, padding=0)), IMAGE, ("ts13", "dynamo")),
    Case("unfold", lambda: Fn(unfold, weight=torch.randn(4, 27)), IMAGE, ("ts13",)),
    Case(
        "gather_scatter",
        lambda: Fn(gather_scatter, table=torch.randn(6, 4)),
        {"x": f(1, 6, 4), "ids": i(5, below=6)},
        ("ts13",),
    ),
    Case(
        "scatter_nd",
        lambda: Fn(scatter_nd, table=torch.randn(6, 4)),
        {"x": f(1, 6, 4), "ids": i(3, below=6)},
        ("ts17",),
    ),
    Case("reductions", lambda: Fn(reductions, conv=conv(3, 4)), IMAGE, ("dynamo",)),
    Case("slices", lambda: Fn(slices), {"x": f(1, 6, 7, 8)}, ("ts11",)),
    Case("broadcasts", lambda: Fn(broadcasts), {"x": f(2, 3, 4), "y": f(2, 3, 4)}, ("ts13",)),
    Case("mathematics", lambda: Fn(mathematics), {"x": f(3, 5)}, ("ts17", "dynamo")),
    Case(
        "integers",
        lambda: Fn(integers),
        {"ids": i(3, 4, below=9), "others": i(3, 4, below=5)},
        ("ts13",),
    ),
    Case(
        "shapes_dynamic",
        lambda: Fn(shapes, conv=nn.Conv2d(5, 4, 1)),
        IMAGE,
        ("ts13",),
        {"image": {2: "height", 3: "width"}},
        ({"image": (1, 3, 12, 6)},),
    ),
    Case("if_scripted", ScriptedIf, ROWS, ("ts13",), scripted=True),
    Case("loop_scripted", ScriptedLoop, ROWS | {"steps": i(below=5)}, ("ts17",), scripted=True),
    Case("while_scripted", ScriptedWhile, ROWS, ("ts13",), scripted=True),
    Case("if_torch_cond", TorchCond, ROWS, ("dynamo",)),
]
