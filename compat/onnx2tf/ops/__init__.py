"""Modules that callers look for by name."""
