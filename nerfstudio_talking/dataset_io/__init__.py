"""Talking tracks, sequences, parsing labels and dataset layouts."""
