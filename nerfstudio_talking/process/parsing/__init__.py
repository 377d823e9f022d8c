"""Parsing backends: the colour and position model of the clip itself, and folders of ready maps."""
