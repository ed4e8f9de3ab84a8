"""Will a file run on the device, and how is it made to?

A device is a table of facts (:mod:`.table`), each with its source: what its kernels take.  From the table comes a
verdict for every operator of a file (:mod:`.verdict`); where the device's own tool is installed, that tool is asked and
has the last word (:mod:`.proof`).  Rewrites that make a program fit are in :mod:`.forms`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .table import Device

#: What can be named as a target, and the module that has its table.
DEVICES = {
    "cpu": "cpu",
    "gpu": "gpu",
    "micro": "micro",
    "ethos-u55": "ethos_u",
    "ethos-u65": "ethos_u",
    "ethos-u85": "ethos_u",
    "edgetpu": "edgetpu",
}

_ETHOS_U = ("square", "blocks", "unroll", "mean")
#: Rewrites (of :data:`.forms.FORMS`) that a device wants.
WANTED: dict[str, tuple[str, ...]] = {
    "cpu": ("windows",),
    "gpu": ("ranks of gpu", "unroll", "argmax"),
    "micro": ("ranks of micro", "gelu", "clamp", "tile"),
    "ethos-u55": _ETHOS_U,
    "ethos-u65": _ETHOS_U,
    "ethos-u85": _ETHOS_U,
    "edgetpu": ("ranks of edgetpu", "groups", "square", "hard_swish", "leaky_relu", "unroll"),
}


def device(name: str) -> Device:
    """The table of a device; KeyError for one that does not exist."""
    found: Device = import_module(f".{DEVICES[name]}", __name__).TABLES[name]
    return found
