"""Images and containers."""
