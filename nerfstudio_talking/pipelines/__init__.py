"""nerfstudio pipelines."""
