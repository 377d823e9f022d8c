"""Images, videos and audio: reading, writing, optical flow, inpainting."""
