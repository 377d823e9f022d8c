"""Landmarks, tracking, head pose, measurements, mouth shape."""
