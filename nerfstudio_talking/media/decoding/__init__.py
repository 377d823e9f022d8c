"""How a container is decoded: clocks, orientation, pixel shape, fields, high dynamic range, channels."""
