"""Sound to features."""
