"""Adapters that cannot be loaded."""
