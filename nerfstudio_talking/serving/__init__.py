"""A portrait served live: sessions under one audio clock, over WebRTC and WebSocket."""
