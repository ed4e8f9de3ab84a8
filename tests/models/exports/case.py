# ruff: noqa: TID253 - part of make_exports.py
"""One row of the corpus, and the few helpers that its networks are written with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

BOTH = ("ts17", "dynamo")


@dataclass(frozen=True)
class Spec:
    """An input: float32 is normal, or uniform in low..high; int64 lies in low (or 0) <= x < below.

    bool is true three times in four.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    low: float | None = None
    high: float | None = None
    below: int | None = None

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        if self.dtype == "int64":
            return np.asarray(rng.integers(int(self.low or 0), self.below, shape), np.int64)
        if self.dtype == "bool":
            return np.asarray(rng.random(shape) < 0.75)
        if self.low is None:
            return np.asarray(rng.standard_normal(shape), np.float32)
        return np.asarray(rng.uniform(self.low, self.high, shape), np.float32)

    def row(self) -> dict:
        optional = {"low": self.low, "high": self.high, "below": self.below}
        return {"dtype": self.dtype, "shape": list(self.shape)} | {k: v for k, v in optional.items() if v is not None}


def f(*shape: int, low: float | None = None, high: float | None = None) -> Spec:
    return Spec(shape, low=low, high=high)


def i(*shape: int, below: int, low: int | None = None) -> Spec:
    return Spec(shape, "int64", low=low, below=below)


def b(*shape: int) -> Spec:
    return Spec(shape, "bool")


@dataclass(frozen=True)
class Case:
    """A network with its inputs; ``exports`` lists ``ts<opset>`` (TorchScript exporter) and ``dynamo``.

    ``dynamic`` names dynamic axes by input, as in ``dynamic_axes``; ``alternatives`` are other shapes to run at.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: dict[str, Spec]
    exports: tuple[str, ...] = BOTH
    dynamic: dict[str, dict[int, str]] = field(default_factory=dict)
    alternatives: tuple[dict[str, tuple[int, ...]], ...] = ()
    outputs: tuple[str, ...] = ()
    keep_batchnorm: bool = False
    scripted: bool = False

    @property
    def variadic(self) -> bool:
        """Whether forward takes its inputs as ``*inputs``."""
        return isinstance(self.make(), Fn)


class Fn(nn.Module):
    """A network written as a function of its sub-modules and inputs: ``Fn(lambda m, x: m.a(x) + x, a=conv(3, 3))``."""

    def __init__(self, function: Callable, **modules: nn.Module | torch.Tensor):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            if isinstance(module, torch.Tensor):
                self.register_buffer(name, module)
            else:
                self.add_module(name, module)

    def forward(self, *inputs: torch.Tensor):
        return self.function(self, *inputs)


def randomise(model: nn.Module) -> nn.Module:
    """Give normalisation layers statistics and scales that are not 0 and 1, so that a wrong fold is seen."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
            norm = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
            if isinstance(module, norm) and module.weight is not None:
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
            if isinstance(module, nn.PReLU):
                module.weight.uniform_(-0.5, 0.5)
    return model


def conv(cin: int, cout: int, kernel: int = 3, stride: int = 1, groups: int = 1, **options) -> nn.Conv2d:
    return nn.Conv2d(cin, cout, kernel, stride, options.pop("padding", kernel // 2), groups=groups, **options)


def conv_bn(cin: int, cout: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: type | None = nn.ReLU):
    layers = [conv(cin, cout, kernel, stride, groups, bias=False), nn.BatchNorm2d(cout)]
    return nn.Sequential(*layers, *([act()] if act else []))


def pooled_classifier(channels: int, classes: int = 5) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
