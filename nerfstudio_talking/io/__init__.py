"""Files, digests, weights, errors and the console."""
