"""What a benchmark of networks may be asked for; apart from what it does, which takes torch."""

TASKS = ("inference", "training")
# Graphs are CUDA's: the kernels of a whole call, recorded once and started together.
MODES = ("eager", "compiled", "graphs", "compiled_graphs")
PRECISIONS = ("bf16", "fp32")
# Compiling a network takes a GPU minutes: two of them beside the dense one.
ALPHAS = {"cpu": (0.125, 0.25, 0.5), "cuda": (0.25, 0.5)}
