"""HTTP, WebRTC and WebSocket in front of the sessions."""
