"""Refinement of rendered frames by a generative adversarial network with a memory (docs/refiner.md)."""
