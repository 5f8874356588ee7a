"""The targets, one small file a board, and the flow from RTL to a bitstream."""
