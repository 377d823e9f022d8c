"""CPU and GPU kernels of the field components."""
