"""Rendering of the personal face mesh over warped reference frames."""
