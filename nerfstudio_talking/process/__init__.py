"""The application that makes a dataset folder of a video."""
