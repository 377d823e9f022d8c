"""CPU kernels of the rasterizer."""
