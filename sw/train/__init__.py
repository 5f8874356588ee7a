"""Training in 16-bit fixed point: numbers, gradients, scales and the loop around them."""
