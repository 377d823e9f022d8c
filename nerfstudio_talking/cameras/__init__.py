"""The recording camera, camera paths, and boxes and planes around the head."""
