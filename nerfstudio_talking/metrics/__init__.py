"""Scores: functions first, torchmetrics classes on top."""
