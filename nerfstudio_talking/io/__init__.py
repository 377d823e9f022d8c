"""Files, digests, errors."""
