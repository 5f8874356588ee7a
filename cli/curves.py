"""Learning curves for the terminal."""

__all__ = ["curve"]

#: Heights of a curve's columns.
_BARS = "▁▂▃▄▅▆▇█"


def curve(values: list[float], columns: int = 60) -> str:
    """Return a learning curve of one line: columns between the least and the greatest value.

    Of more values than columns each column is a mean of neighbours.
    """
    count = min(len(values), columns)
    edges = [len(values) * i // count for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in zip(edges, edges[1:], strict=False)]
    low, high = min(means), max(means)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0
    bars = "".join(_BARS[round((mean - low) * scale)] for mean in means)
    return f"{bars}  {means[0]:.4f} to {means[-1]:.4f}"
