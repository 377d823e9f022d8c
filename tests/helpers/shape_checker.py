"""jaxtyping's annotations checked at run time, in every function and dataclass of the package that a test calls.

`install` is called by conftest.py before the package is imported. typeguard's own decorator does not do here: since its
version 4 it reads a function's source, which the functions that jaxtyping hands to it do not have.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, get_args

import jaxtyping
import typeguard

from helpers.paths import ROOT

PACKAGE = ROOT / "nerfstudio_talking"
COMPILED = ("import numba", "import triton")
"""Modules with such a line hold kernels: numba and Triton compile functions themselves and cannot read wrapped ones."""


def install() -> None:
    """Check the shapes of all modules of the package but those with kernels; call it before their first import."""
    modules = []
    for path in PACKAGE.rglob("*.py"):
        is_kernel = any(line in COMPILED for line in path.read_text().splitlines())
        if path.name != "__init__.py" and not is_kernel:
            modules.append(".".join(path.relative_to(ROOT).with_suffix("").parts))
    jaxtyping.install_import_hook(modules, f"{__name__}.check_shapes")


def check_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """A type checker for jaxtyping that checks annotations with arrays in them, and no others."""
    signature = inspect.signature(function)
    checked = {name: p.annotation for name, p in signature.parameters.items() if has_array(p.annotation)}
    for name, parameter in signature.parameters.items():
        if name in checked and parameter.kind is parameter.VAR_POSITIONAL:
            checked[name] = tuple[checked[name], ...]
        elif name in checked and parameter.kind is parameter.VAR_KEYWORD:
            checked[name] = dict[str, checked[name]]
    returned = signature.return_annotation
    if not checked and not has_array(returned):
        return function

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            if name in checked:
                check(value, checked[name])
        result = function(*args, **kwargs)
        if has_array(returned):
            check(result, returned)
        return result

    return wrapper


def check(value: object, annotation: Any) -> None:
    """Raise TypeCheckError where a value is not what the annotation says; all elements of containers are checked."""
    if inspect.isclass(annotation) and isinstance(value, annotation):
        return  # most are an array by itself, for which typeguard does the same more slowly
    typeguard.check_type(value, annotation, collection_check_strategy=typeguard.CollectionCheckStrategy.ALL_ITEMS)


def has_array(annotation: Any) -> bool:
    """Whether an array of jaxtyping stands in an annotation."""
    if inspect.isclass(annotation) and issubclass(annotation, jaxtyping.AbstractArray):
        return True
    return any(has_array(inner) for inner in get_args(annotation))
