"""Kernels of octvideo's own for the CPU, in C++ with AVX-512, compiled where they are first used."""
