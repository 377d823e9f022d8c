"""A video to a dataset folder."""
