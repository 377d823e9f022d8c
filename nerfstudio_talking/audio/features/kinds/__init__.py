"""One module per kind of audio features. A new module with `KINDS` is found by itself."""
