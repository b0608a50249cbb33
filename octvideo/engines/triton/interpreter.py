"""Triton's interpreter, which runs the kernels on the CPU: for tests."""

import os

import torch


@torch.compiler.assume_constant_result
def is_interpreted() -> bool:
    """Whether it was asked for, before Triton was imported."""
    return os.environ.get("TRITON_INTERPRET") == "1"
