"""The zoo: networks of the tasks people bring, their data, how they are trained and measured.

``zoo`` is the register, ``datasets`` reads the data, ``evaluate`` measures networks on models and
the RTL, ``training`` has what the training scripts share and alone needs PyTorch. Each network has
a folder of its own, with its model file and the script that makes it.
"""
