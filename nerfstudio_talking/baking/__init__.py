"""A volume frozen for fast playback."""
