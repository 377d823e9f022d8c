"""Schedulers and other parts of the trainer."""
