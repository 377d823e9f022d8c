"""Counters of the server in Prometheus' text format."""

from __future__ import annotations

from nerfstudio_talking.serving.registry import SessionRegistry

_PER_SESSION = (
    ("first_frame_ms", "gauge", "Milliseconds from the request to the first frame.", "first_frame_ms"),
    ("render_fps", "gauge", "Frames rendered per second over two seconds.", "render_fps"),
    ("av_drift_ms", "gauge", "Milliseconds that the image lags behind the audio, mean of a second.", "av_drift_ms"),
    ("queue_depth_seconds", "gauge", "Seconds of audio that wait.", "queue_seconds"),
    ("frames_rendered_total", "counter", "Frames rendered.", "rendered"),
    ("frames_skipped_total", "counter", "Frames left out because their time had passed.", "skipped"),
    ("frames_repeated_total", "counter", "Times that the last frame was shown again.", "repeated"),
)


def metrics_text(registry: SessionRegistry) -> str:
    """All counters. Sessions are numbered from 1; their ids are secrets."""
    lines = []
    for name, kind, text, value in (
        ("sessions", "gauge", "Open sessions.", len(registry.sessions())),
        ("sessions_max", "gauge", "Sessions that may be open.", registry.max_sessions),
        ("sessions_opened_total", "counter", "Sessions opened.", registry.num_opened),
        ("sessions_refused_total", "counter", "Sessions refused because the server was full.", registry.num_refused),
    ):
        lines += [f"# HELP talking_{name} {text}", f"# TYPE talking_{name} {kind}", f"talking_{name} {value}"]
    stats = [(number, s.portrait.name, s.stats()) for number, s in enumerate(registry.sessions(), 1)]
    for name, kind, text, field in _PER_SESSION:
        lines += [f"# HELP talking_{name} {text}", f"# TYPE talking_{name} {kind}"]
        for number, portrait, values in stats:
            value = getattr(values, field)
            if value is not None:
                label = portrait.replace("\\", "\\\\").replace('"', '\\"')
                lines.append(f'talking_{name}{{session="{number}",portrait="{label}"}} {value:.6g}')
    return "\n".join(lines) + "\n"
