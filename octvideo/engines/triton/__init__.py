"""Convolutions by Triton kernels of octvideo's own, for CUDA: a whole octave layer in one launch.

kernels           what runs on the device
problem           sums of convolutions as the kernels' arguments
tiles             how the work is cut, and which way was fastest here
weight_gradients  of a layer
norm              batch norms in training
operator          the sums at once, or as an operation that torch.compile and export see
interpreter       whether Triton's interpreter runs the kernels, without a GPU
engine            what the engine takes
"""
