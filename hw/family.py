"""Which family's primitives a part of the hardware is made of."""

__all__ = ["family"]


def family(platform) -> str:
    """Return ``"ecp5"``, ``"ice40"``, ``"gowin"``, or ``"portable"``: simulation, other parts."""
    device = getattr(platform, "device", "") or ""
    if device.startswith("LFE5"):
        return "ecp5"
    if device.startswith("iCE40UP"):
        return "ice40"
    # Amaranth's platform of Gowin has no device
    if getattr(platform, "family", "").startswith("GW2A"):
        return "gowin"
    return "portable"
