"""A small network from Keras: the script, and the two TFLite files it makes."""
