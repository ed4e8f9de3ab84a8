"""A folder of images as samples for an input; needs Pillow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...errors import ConversionError, Problem
from .inputs import InputSpec

if TYPE_CHECKING:
    import PIL.Image

ALPHA = "A"  # of the bands of an image
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

    :raises ConversionError: where Pillow is absent, the folder has no image, or one that cannot be read, the model has
        not just one image input, or means and deviations do not suit its channels.
    """
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise ConversionError(Problem(f"folder '{folder}'", "has no images", f"of {', '.join(sorted(SUFFIXES))}"))
    if len(specs) != 1:
        what = f"cannot be fed with images alone: it has {len(specs)} inputs"
        raise ConversionError(Problem("the model", what, "give an .npz with an array for each"))
    (spec,) = specs
    shape, last = layout(spec, hints.get(spec.name, ()))
    channels = shape[-1] if last else shape[1]
    shift, scale = (_of_channels(side, channels) for side in (mean, std))
    check_normalisation(shift, scale)
    for path in paths:
        image = _opened(path, channels)
        height, width = (shape[1:3] if last else shape[2:4]) or (-1, -1)
        image = image.resize((width if width > 0 else image.width, height if height > 0 else image.height))
        pixels: np.ndarray = np.asarray(image, np.float32).reshape(image.height, image.width, channels)
        if bgr:
            pixels = pixels[..., [2, 1, 0, *range(3, channels)]]
        if spec.dtype.kind == "f":
            pixels = (pixels / 255 - shift) / scale
        pixels = pixels if last else pixels.transpose(2, 0, 1)
        batch = max(shape[0], 1)
        yield {spec.name: np.repeat(pixels[None], batch, 0).astype(spec.dtype)}


def check_normalisation(mean: npt.ArrayLike, std: npt.ArrayLike) -> None:
    """:raises ConversionError: ``(x - mean) / std`` is no number."""
    shift, scale = (np.asarray(side, np.float64) for side in (mean, std))
    if not np.isfinite(shift).all() or not np.isfinite(scale).all() or not scale.all():
        what = f"of {np.ravel(shift).tolist()} and {np.ravel(scale).tolist()} leave no numbers"
        raise ConversionError(Problem("mean and deviation", what, "give finite ones, and no deviation of 0"))


def _of_channels(side: npt.ArrayLike, channels: int) -> np.ndarray:
    values = np.ravel(np.asarray(side, np.float32))
    if values.size not in (1, channels):
        what = f"has {channels} channels, and {values.size} means or deviations were given"
        raise ConversionError(Problem("the image input", what, "give one for each channel, or one for all"))
    return values


def _opened(path: Path, channels: int) -> PIL.Image.Image:
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        where = f"images in '{path.parent}'"
        raise ConversionError(Problem(where, "cannot be read without Pillow", "pip install pillow")) from error
    try:
        with Image.open(path) as opened:
            image = opened.convert(CHANNELS[channels])
            sees_through = ALPHA in opened.getbands() or "transparency" in opened.info
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises of damaged files
        raise ConversionError(
            Problem(f"image '{path}'", f"cannot be read: {error}", "mend it, or take it out")
        ) from error
    if ALPHA in image.getbands() and not sees_through:
        what = f"has no transparency, and the input has {channels} channels"
        raise ConversionError(Problem(f"image '{path}'", what, "give images that have, or arrays"))
    return image


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
