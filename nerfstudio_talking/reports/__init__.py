"""HTML pages of a dataset and of scores, in one style (`page`)."""
