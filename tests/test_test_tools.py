"""What the tests rely on: shapes are checked, bounds hold and are missed, our own deprecations are errors."""

from __future__ import annotations

import re
import warnings

import jaxtyping
import numpy as np
import pytest
import torch
from helpers.paths import ROOT
from helpers.rounding import assert_within, propagated_bound, rounding_bound
from helpers.shape_checker import check_shapes
from jaxtyping import Float, jaxtyped
from torch import Tensor

from nerfstudio_talking.model_components.renderers import over


@jaxtyped(typechecker=check_shapes)
def stack(
    rows: list[Float[Tensor, " width"]], scale: float, *more: Float[Tensor, " width"]
) -> Float[Tensor, "n width"]:
    return scale * torch.stack([*rows, *more])


def test_shapes_of_the_package_are_checked():
    three, one = torch.rand(5, 3), torch.rand(5, 1)
    assert over(three, one, three).shape == (5, 3)
    for wrong in ((three, three, three), (three, one[:4], three), (three.long(), one, three)):
        with pytest.raises(jaxtyping.TypeCheckError, match="over"):
            over(*wrong)


@pytest.mark.usefixtures("unchecked_shapes")
def test_shapes_can_be_left_unchecked():
    assert over(torch.rand(5, 3), torch.rand(5, 3), torch.rand(5, 3)).shape == (5, 3)


def test_arrays_in_containers_are_checked_and_other_types_are_not():
    assert stack([torch.rand(2)], 2, torch.rand(2)).shape == (2, 2)  # an int is no float
    for wrong in (([torch.rand(2), torch.rand(3)], 1.0), ([torch.rand(2)], 1.0, torch.rand(3))):
        with pytest.raises(jaxtyping.TypeCheckError):
            stack(*wrong)
    with pytest.raises(jaxtyping.TypeCheckError, match="return value"):
        jaxtyped(typechecker=check_shapes)(_returns_a_column)(torch.rand(4, 2))


def _returns_a_column(rows: Float[Tensor, "n width"]) -> Float[Tensor, "n width"]:
    return rows[:, :1]


@pytest.mark.parametrize("count", [10, 1000])
def test_a_sum_stays_within_its_bound_but_not_without_a_term_or_with_a_wrong_weight(count):
    terms = np.random.default_rng(0).uniform(0.5, 1.5, count).astype(np.float32)
    exact = terms.astype(np.float64).sum()
    bound = rounding_bound(count - 1, np.abs(terms.astype(np.float64)).sum())
    for order in (terms, terms[::-1], np.sort(terms)):
        assert_within(np.cumsum(order)[-1], exact, bound)
    for wrong in (terms[1:], terms * np.float32(1.001)):
        with pytest.raises(AssertionError, match="bound"):
            assert_within(np.cumsum(wrong)[-1], exact, bound)


def test_errors_of_factors_add():
    a, b = (torch.rand(4, 3, dtype=torch.float64).requires_grad_() for _ in range(2))
    of_a, of_b = torch.full_like(a, 1e-3), torch.full_like(b, 1e-4)
    bound = propagated_bound((a * b).sum(1, keepdim=True), [(a, of_a), (b, of_b)])
    expected = (b.abs() * of_a + a.abs() * of_b).sum(1, keepdim=True)
    torch.testing.assert_close(bound, expected)


@pytest.mark.parametrize("found", [[1.0, 2.1], [1.0, np.nan], [1.0]])
def test_what_is_not_within_is_reported(found):
    with pytest.raises(AssertionError):
        assert_within(np.array(found), np.array([1.0, 2.0]), np.array([0.1, 0.01]))


@pytest.mark.parametrize("category", [DeprecationWarning, PendingDeprecationWarning, FutureWarning])
def test_only_our_own_deprecated_calls_are_errors(category):
    with pytest.raises(category):
        warnings.warn_explicit("old", category, "somewhere.py", 1, module="nerfstudio_talking.io.files")
    warnings.warn_explicit("old", category, "somewhere.py", 1, module="nerfstudio.models.base_model")


def test_no_test_reads_files_beside_the_repository_by_itself():
    """They go through `helpers.paths.shared_file` and are decorated with `needs_clips`."""
    for path in (ROOT / "tests").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name in ("paths.py", "test_test_tools.py"):
            continue
        assert not re.search(r"""ROOT\.parent|["'/]\.\./shared|/shared/""", text), path
        assert ("shared_file(" in text) <= ("needs_clips" in text), path
