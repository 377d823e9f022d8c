"""Face parsing backends."""
