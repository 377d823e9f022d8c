"""Datasets, samplers and datamanagers."""
