"""nerfstudio datasets, pixel samplers and datamanagers."""
