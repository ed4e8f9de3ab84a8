"""The cases in scope that are refused, each with the reason.  Strict both ways: what is listed has to be refused, with
an error that names the node, and everything else has to match."""

from __future__ import annotations

import fnmatch

#: Pattern of case names -> reason.
EXCLUDED = {
    "node/test_image_decoder_decode_*": "reads image files (JPEG, PNG, ...): no TFLite operator takes a bit stream",
}

#: Cases that onnx 1.19 has with other nodes, or other results of the same operands, than later ones: it corrected them.
CORRECTED = (
    "node/test_attention_*_gqa*",
    "node/test_attention_*_qk_matmul_*",
    "node/test_l2normalization_axis_0",
    "node/test_qlinearmatmul_?D_int8_*",
    "node/test_rotary_embedding_*rotary_dim",
)


def corrected(name: str) -> bool:
    """Is the case of this name another one in older releases of onnx?"""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in CORRECTED)


def reason(name: str) -> str | None:
    """Why the case of this name is refused; None for one that has to match."""
    return next((why for pattern, why in EXCLUDED.items() if fnmatch.fnmatchcase(name, pattern)), None)
