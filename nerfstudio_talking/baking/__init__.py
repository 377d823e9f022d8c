"""Baking: the head's volume as a sparse voxel grid that renders fast on a CPU."""
