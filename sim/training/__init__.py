"""Models of training: what the accelerator computes, item by item."""
