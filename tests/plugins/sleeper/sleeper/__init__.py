"""Adapters that never come to an end."""
