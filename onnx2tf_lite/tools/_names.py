"""Moved to errors; this name stays until nothing here imports it."""

from ..errors import ToolError, ambiguous, naming, nearest, unknown

__all__ = ["ToolError", "ambiguous", "naming", "nearest", "unknown"]
