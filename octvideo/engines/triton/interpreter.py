"""Triton's interpreter, which runs the kernels on the CPU: for tests."""

import os

import torch


def runs_on() -> str:
    """The kind of device on which kernels run."""
    return "cpu" if is_interpreted() else "cuda"


@torch.compiler.assume_constant_result
def is_interpreted() -> bool:
    """Whether it was asked for, before Triton was imported."""
    return os.environ.get("TRITON_INTERPRET") == "1"
