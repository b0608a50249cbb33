"""Convolutions by Triton kernels of octvideo's own, for CUDA: a whole octave layer in one launch.

kernels          what runs on the device
problem          sums of convolutions as the kernels' arguments
tiles            how the work is cut, and which way was fastest here
weight_gradient  of a convolution
operator         the sums as an operation that torch.compile sees
engine           what the engine takes
"""
