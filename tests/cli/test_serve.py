"""`ns-talking serve`: options that are refused before anything is loaded, and the names of portraits."""

from __future__ import annotations

from pathlib import Path

import pytest

from nerfstudio_talking.cli.serve import Serve, portrait_names
from nerfstudio_talking.io.errors import TalkingError


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "--load-config"),
        ({"test_signal": True, "host": "0.0.0.0"}, "--token with it"),
        ({"test_signal": True, "tls_cert": Path("a.pem")}, "--tls-key with it"),
        ({"test_signal": True, "tls_cert": Path("a.pem"), "tls_key": Path("b.pem")}, r"a\.pem and b\.pem"),
        ({"test_signal": True, "max_sessions": 0}, "--max-sessions"),
        ({"load_config": (Path("nowhere/config.yml"),)}, r"config\.yml"),
    ],
)
def test_what_cannot_be_served_is_said(options, message):
    with pytest.raises(TalkingError, match=message):
        Serve(**options).main()


def test_portraits_are_named_after_their_experiment():
    paths = tuple(
        Path(p) for p in ("outputs/anna/m/t/config.yml", "o/ben/m/t/c.yml", "o/anna/m/u/config.yml", "config.yml")
    )
    names = portrait_names((*paths, paths[0]))
    assert names[:3] == ["anna", "ben", "anna-2"] and names[4] == "anna-3"
    assert len(set(names)) == 5
