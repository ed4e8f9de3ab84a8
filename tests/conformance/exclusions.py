"""The cases in scope that are refused, each with the reason.  Strict both ways: what is listed has to be refused, with
an error that names the node, and everything else has to match."""

from __future__ import annotations

import fnmatch

#: Pattern of case names -> reason.
EXCLUDED = {
    "node/test_image_decoder_decode_*": "reads image files (JPEG, PNG, ...): no TFLite operator takes a bit stream",
}


def reason(name: str) -> str | None:
    """Why the case of this name is refused; None for one that has to match."""
    return next((why for pattern, why in EXCLUDED.items() if fnmatch.fnmatchcase(name, pattern)), None)
