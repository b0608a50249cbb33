"""What runs on the device, of channels-last clips: one launch each.

arguments         what kernels are told of clips and weights
pixels            how their numbers are found, read and multiplied
sums              sums of convolutions with all that is behind them
weight_gradients  of a layer
norms             batch norms with the ReLU behind them, and their gradients

Numbers of channels and strides are counted in ``unit``, 8 wherever that divides them: then Triton knows that 16 bytes
can be loaded at a time.
"""
