"""Audio-driven talking portraits for Nerfstudio. Importing this package imports nothing of nerfstudio."""

__version__ = "0.1.0"
