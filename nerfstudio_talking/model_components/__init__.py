"""Renderers, occupancy, losses."""
