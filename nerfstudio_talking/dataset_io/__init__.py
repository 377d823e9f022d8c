"""Tracks, sequences and dataset layouts."""
