"""The engine ``native``: kernels of octvideo's own in C++, compiled where they are first used."""
