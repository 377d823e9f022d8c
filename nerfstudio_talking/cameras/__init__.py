"""Pinhole cameras and what is fixed to them."""
