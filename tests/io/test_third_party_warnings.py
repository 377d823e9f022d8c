"""Known warnings of other packages are filtered, and nothing else is."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest

from nerfstudio_talking.io.third_party_warnings import (
    THIRD_PARTY_WARNINGS,
    ThirdPartyWarning,
    silence_third_party_warnings,
)


def shown(text: str, category: type[Warning], module: str) -> bool:
    """Whether a warning shows after the filters were installed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        silence_third_party_warnings()
        warnings.warn_explicit(text, category, "file.py", 1, module=module)
    return bool(caught)


@pytest.mark.parametrize("known", THIRD_PARTY_WARNINGS, ids=lambda known: f"{known.module}: {known.text[:40]}")
def test_only_the_known_warning_is_filtered(known: ThirdPartyWarning) -> None:
    text = f"{known.text} and more."
    assert not shown(text, known.category, known.module)
    assert shown(f"Careful: {text}", known.category, known.module)
    assert shown(text, DeprecationWarning, known.module)
    assert shown(text, known.category, "nerfstudio_talking.engine.trainer")
    assert shown(text, known.category, known.module + "_of_another")


def test_second_call_changes_nothing() -> None:
    with warnings.catch_warnings():
        silence_third_party_warnings()
        filters = list(warnings.filters)
        silence_third_party_warnings()
        assert list(warnings.filters) == filters


@pytest.mark.parametrize("package", ["method_configs", "dataparsers"])
def test_packages_of_the_entry_points_install_the_filters_and_import_little(package: str) -> None:
    code = (
        "import sys, warnings; before = len(warnings.filters);"
        f"import nerfstudio_talking.{package};"
        "from nerfstudio_talking.io.third_party_warnings import THIRD_PARTY_WARNINGS;"
        "assert len(warnings.filters) == before + len(THIRD_PARTY_WARNINGS);"
        "assert not {'numpy', 'torch', 'nerfstudio', 'rich'} & sys.modules.keys()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
