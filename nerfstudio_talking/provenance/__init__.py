"""What says that a video is synthetic, and of what: Content Credentials, tags, and an invisible watermark."""
