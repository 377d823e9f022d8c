"""Scores of talking portraits.

`functional/` holds the scores as functions of arrays; the modules beside it hold one torchmetrics class for each score
or tight family, which says what tables write; `registry` lists them, `suite` measures them together over a video in
memory, `score_files` over two files.

A new score is a function in `functional/` and a class (`base.VideoMetric`) in one of `registry.MODULES`: every
evaluation measures it and every table shows it.
"""
