"""Parts that models are made of: renderers, occupancy grid, losses."""
