"""What becomes silicon: configuration, instruction set, and the RTL of the accelerator."""
