"""Fields: functions of a point in space and a frame's condition."""
