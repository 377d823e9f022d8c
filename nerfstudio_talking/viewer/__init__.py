"""What nerfstudio's viewer shows of a portrait beside the image."""
