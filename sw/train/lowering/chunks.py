"""The gradient of a maximum and that of the weights before it, some images after the other.

POST writes the first, which takes it longer than the array; the second takes the array longer. So
the one of a chunk of images runs while the other one of the chunk before does, and two chunks of
the map between them are all that is in memory.
"""

from dataclasses import replace

from systolith.sw.train.lowering.convolution import weight_sums
from systolith.sw.train.lowering.job import Job
from systolith.sw.train.lowering.pooling import unpool
from systolith.sw.train.steps import ConvWeights, MaxBackward, chunked

__all__ = ["maximum_weights"]


def maximum_weights(job: Job, pool: MaxBackward, weights: ConvWeights) -> None:
    """Run both for all images, chunk after chunk."""
    dx, size = job.memory.maps[pool.result], job.memory.chunks.get(weights.node.weights,
                                                                   job.images)
    parts = chunked(job.images, min(size, job.images))
    places = [replace(dx, base=dx.at(number % 2 * size)) for number in range(len(parts))]

    def multiply(number: int) -> None:
        weight_sums(job, weights, parts[number], places[number],
                    lambda _: (pool.result, number), number)
        job.complete(weights.result, part=number)

    for number, part in enumerate(parts):
        unpool(job, pool, part, places[number])
        job.complete(pool.result, part=number)
        if number > 0:
            multiply(number - 1)
    multiply(len(parts) - 1)
