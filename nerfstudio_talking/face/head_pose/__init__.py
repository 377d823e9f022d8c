"""Head pose of every frame: from landmarks (bundle adjustment), then from the images (photometric alignment)."""
