"""torch without its compiler, which takes 1.8 s to load, for what compiles nothing.

Optimizers, and some operations of the meta device, are kept out of what torch compiles; to say so they load the compiler when they are
first used. The module that stands in its place here answers that they stay as they are. Whatever else is asked of it loads the compiler. A
user's own model, which may compile, finds torch as it is.

Source: torch 2.15, `torch._compile._disable_dynamo` and `torch.optim.optimizer._use_grad_for_differentiable`.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch

COMPILER = "torch._dynamo"


class _Absent(ModuleType):
    """What eager training asks of the compiler; it makes way for the compiler at anything else."""

    @staticmethod
    def disable(function: Callable[..., Any], *_: Any, **__: Any) -> Callable[..., Any]:
        """A function as it is."""
        return function

    @staticmethod
    def graph_break() -> None:
        """Nothing: there is no graph."""

    def __getattr__(self, name: str) -> Any:
        bring_compiler_back()
        return getattr(importlib.import_module(COMPILER), name)


@contextmanager
def compiler_left_out() -> Iterator[None]:
    """Within the `with` torch's compiler is loaded only by what compiles."""
    if COMPILER in sys.modules:
        yield
        return
    leave_compiler_out()
    try:
        yield
    finally:
        bring_compiler_back()


def leave_compiler_out() -> None:
    """From now on torch's compiler is loaded only by what compiles; nothing where it is loaded already."""
    if COMPILER not in sys.modules:
        sys.modules[COMPILER] = torch._dynamo = _Absent(COMPILER)


def bring_compiler_back() -> None:
    """From now on torch loads its compiler as it likes to."""
    if isinstance(sys.modules.get(COMPILER), _Absent):
        del sys.modules[COMPILER], torch._dynamo
