"""Subcommands that look at what is there: datasets, videos, this machine."""
