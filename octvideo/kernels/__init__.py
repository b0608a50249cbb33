"""Kernels of our own for CPUs, compiled where they are first used."""
