"""Kinds of audio features: each is one module of `kinds`, found by `registry`."""
