"""Scores as functions of arrays and tensors."""
