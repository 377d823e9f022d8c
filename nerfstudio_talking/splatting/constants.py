"""Constants of the rasterizers: gsplat's."""

TILE = 16
"""Side of a tile, pixels."""
MAX_ALPHA = 0.999
"""Alphas are clamped to this."""
MIN_ALPHA = 1 / 255
"""Smaller alphas are skipped."""
MIN_TRANSMITTANCE = 1e-4
"""A pixel ends before its transmittance falls to this."""
EPS_2D = 0.3
"""Added to the diagonal of the projected covariance, square pixels: no Gaussian is smaller than a pixel."""
NEAR_PLANE = 0.01
"""Least depth of a visible Gaussian, metres."""
FAR_PLANE = 1e10
"""Greatest depth of a visible Gaussian, metres."""
