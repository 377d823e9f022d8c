"""Fields: functions of a point in space, or on the image plane, and a frame's condition."""
