"""Trained portraits at work."""
