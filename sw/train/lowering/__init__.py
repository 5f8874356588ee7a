"""Items of a training step to nests of a training device."""
