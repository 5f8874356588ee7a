"""The models of the hardware: golden, machine, and the compiled RTL."""
