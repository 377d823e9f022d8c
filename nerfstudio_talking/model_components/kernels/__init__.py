"""CPU kernels of the losses."""
