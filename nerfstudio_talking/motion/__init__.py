"""Head motion from audio: expression, head pose and blinks of a person (after Yi et al. 2020, arXiv 2002.10137)."""
