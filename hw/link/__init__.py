"""The host link: bytes in and out, frames, and the device's end of the protocol."""
