"""A folder of images as samples for an input; needs Pillow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import ConversionError, Problem
from .inputs import InputSpec

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm"}
CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}


def read_folder(
    folder: Path,
    specs: Sequence[InputSpec],
    hints: Mapping[str, Sequence[int]],
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    limit: int | None = None,
) -> list[dict[str, np.ndarray]]:
    """The samples of :func:`stream`, ``limit`` of them."""
    return list(islice(stream(folder, specs, hints, mean, std), limit))


def stream(
    folder: Path,
    specs: Sequence[InputSpec],
    hints: Mapping[str, Sequence[int]],
    mean: npt.ArrayLike = 0.0,
    std: npt.ArrayLike = 1.0,
    bgr: bool = False,
) -> Iterator[dict[str, np.ndarray]]:
    """One sample per image, in the order of the file names: resized to the input, ``(pixel / 255 - mean) / std``; for
    an integer input the pixels as they are.  ``bgr``: blue comes first.

    The input is [N,C,H,W], or [N,H,W,C] where only its last axis has an extent that images can have.  Free extents are
    those of ``hints``, else the image's own.

    :raises ConversionError: where Pillow is absent, the folder has no image, or the model has not just one image input.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        where = f"images in '{folder}'"
        raise ConversionError(Problem(where, "cannot be read without Pillow", "pip install pillow")) from error
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise ConversionError(Problem(f"folder '{folder}'", "has no images", f"of {', '.join(sorted(SUFFIXES))}"))
    if len(specs) != 1:
        what = f"cannot be fed with images alone: it has {len(specs)} inputs"
        raise ConversionError(Problem("the model", what, "give an .npz with an array for each"))
    (spec,) = specs
    shape, last = layout(spec, hints.get(spec.name, ()))
    channels = shape[-1] if last else shape[1]
    for path in paths:
        with Image.open(path) as opened:
            image = opened.convert(CHANNELS[channels])
        height, width = (shape[1:3] if last else shape[2:4]) or (-1, -1)
        image = image.resize((width if width > 0 else image.width, height if height > 0 else image.height))
        pixels: np.ndarray = np.asarray(image, np.float32).reshape(image.height, image.width, channels)
        if bgr:
            pixels = pixels[..., [2, 1, 0, *range(3, channels)]]
        if spec.dtype.kind == "f":
            pixels = (pixels / 255 - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
        pixels = pixels if last else pixels.transpose(2, 0, 1)
        batch = max(shape[0], 1)
        yield {spec.name: np.repeat(pixels[None], batch, 0).astype(spec.dtype)}


def layout(spec: InputSpec, hint: Sequence[int] = ()) -> tuple[list[int], bool]:
    """The extents (-1: free) of an image input, and whether its channels are last.

    :raises ConversionError: it is none.
    """
    shape = [int(d) if isinstance(d, int) else -1 for d in (hint or spec.shape)]
    if len(shape) == 4 and shape[1] in CHANNELS:
        return shape, False
    if len(shape) == 4 and shape[3] in CHANNELS:
        return shape, True
    shown = ",".join(map(str, spec.shape))
    raise ConversionError(Problem(f"input '{spec.name}'", f"is no image: its shape is [{shown}]", "give an .npz file"))
