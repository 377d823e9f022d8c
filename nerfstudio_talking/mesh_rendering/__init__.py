"""The personal face mesh, drawn."""
