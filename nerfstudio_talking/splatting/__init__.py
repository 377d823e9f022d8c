"""Gaussians: projection, rasterizers, density control."""
