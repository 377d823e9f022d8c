"""Scores of talking portraits: pure functions, accumulators with states, and whole videos. See docs of each module."""
