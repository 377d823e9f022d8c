"""Face geometry: landmark sets, tracking, head pose, measurements, regions, mouth shape, linear face model."""
