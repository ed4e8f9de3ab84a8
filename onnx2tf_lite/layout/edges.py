"""How the inputs and outputs of a model are stored: one rule, whatever the transposes inside cost.

**Images are stored channels-last, everything else as in ONNX.**  An image is a tensor of rank 4 or 5 that a
convolution, a pooling, a resizing or a normalisation by channels reads or gives: itself, or through operations that
leave every axis what it is.  So is an input [N, C, H, W] of 1 or 3 channels that the model does not use as anything
else, flattens say, nor beside an input that is no picture, with the outputs that keep its axes.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..ir.graph import Graph, Value
from ..ir.orders import Order, natural
from .images import LETTERS, Found, Links, channels_first, operands, seeds

#: Channels of what is a picture though nothing in the model says so: a flattened one, say, or one cut into patches.
#: Four of them are as often the heads of a cache.
PICTURED = (1, 3)


def channels_last(rank: int) -> Order:
    """[N, C, ...] stored as [N, ..., C]; up to rank 2 as it is."""
    return (0, *range(2, rank), 1)[:rank]


def stored_orders(graph: Graph, rule: str, pins: Mapping[str, str]) -> dict[str, Order]:
    """The order in which each input and output is stored, by name.

    :param rule: ``auto``; ``onnx``: nothing is moved; ``channels-last``: every input of rank 3 to 5 is moved, image or
        not, and every output that is the image of a convolution, or has the axes of a moved input: what onnx2tf does.
    :param pins: name -> ``onnx`` or ``channels_last``, whatever the rule says.
    """
    links = Links(graph)
    images = {} if rule == "onnx" else links.follow(seeds(graph))
    ranks = {"auto": (4, 5), "channels-last": (3, 4, 5)}.get(rule, ())

    def stored(value: Value, name: str, moves: bool) -> Order:
        moved = pins.get(name, "channels_last" if moves else "onnx") == "channels_last"
        return (channels_last if moved else natural)(value.rank)

    moving = {*graph.inputs} if rule == "channels-last" else _first(images)
    if rule == "auto":
        moving |= _pictures(graph, images, links)
    moving = {v for v in moving if v.rank in ranks}
    orders = {v.name: stored(v, v.name, v in moving) for v in graph.inputs}
    moved = [channels_first(v) for v in graph.inputs if v.rank in LETTERS and orders[v.name] != natural(v.rank)]
    unseen = [(v, axes) for v, axes in moved if axes not in images.get(v, ())]  # the others were followed
    following = _first(images) | _first(links.follow(unseen))
    ends = zip(graph.output_names, graph.outputs, strict=True)
    return {name: stored(v, name, v.rank in ranks and v in following) for name, v in ends} | orders


def _first(images: Found) -> set[Value]:
    """The values that are channels-first images."""
    return {v for v, found in images.items() if any(axes.channels_first for axes in found)}


def _pictures(graph: Graph, images: Found, links: Links) -> set[Value]:
    """Inputs of 1 or 3 channels of which the model does not say what their axes are: no weights, caches, masks, and
    nothing that is joined with what is no picture."""
    pixels = [v for v in graph.inputs if v.rank == 4 and v.shape[1] in PICTURED and _pixels(v)]
    found = {*pixels} - images.keys() - (operands(graph) if pixels else set())
    others = {v for v in graph.inputs if v.rank == 4} - found
    return {v for v in found if others.isdisjoint(links.follow([channels_first(v)]))}


def _pixels(value: Value) -> bool:
    """Floats or bytes: larger integers are places or counts."""
    return value.dtype.kind == "f" or (value.dtype.kind in "iu" and value.dtype.itemsize == 1)
