"""Optimizers, schedules and the trainer."""
