"""How many cycles the pipelines take: numbers alone, for the RTL and the model of its cycles."""

from systolith.hw.config import Config

__all__ = [
    "ACCUMULATE_CYCLES", "AHEAD", "ALIGNED_LATENCY", "BANK_LATENCY", "DRAIN_LATENCY",
    "FETCH_LATENCY", "POST_LATENCY", "REQUANTIZE_LATENCY", "RESIDUAL_CYCLES", "RESIDUAL_LATENCY",
    "RESULT_AGE", "RESULT_INPUT", "SHARED_CYCLES", "SLOT_DELAY", "VECTOR_LATENCY", "WIDE_STAGES",
    "WINDOW_LATENCY", "WRITE_LATENCY", "array_latency", "post_read_latency", "read_latency",
]

#: A bank: from reading to its data.
BANK_LATENCY = 3
#: Unified memory: from a granted word read to its data.
ALIGNED_LATENCY = BANK_LATENCY + 3
#: From a granted vector read to its data: the word's, and two for the rotator.
VECTOR_LATENCY = ALIGNED_LATENCY + 2
#: From a vector write to the edge that stores it.
WRITE_LATENCY = 5
#: What waiting in the registers of the port that DMA and POST share adds to a read (dual ports).
SHARED_CYCLES = 1

#: Sequencer: words read ahead of the one that is being looked at.
AHEAD = 8
#: From asking the program memory to the word's way into the queue.
FETCH_LATENCY = 2

#: Window unit: from a pixel to the window it completes.
WINDOW_LATENCY = 3

#: Accumulators: from presenting an address for reading to the edge that stores the new sum, plus
#: one: the same address may not come again sooner.
ACCUMULATE_CYCLES = 4
#: From POST's address to its data.
DRAIN_LATENCY = 2

#: A wide product: operands, pipeline and output registers of the DSP.
WIDE_STAGES = 3
#: Requantiser: left shift, product, three additions, rounding, right shift in two.
REQUANTIZE_LATENCY = 1 + WIDE_STAGES + 3 + 1 + 2

#: A residual addition needs the requantiser four times: once for the sum of products, once for
#: each operand, once for their sum. A result takes so many cycles then.
RESIDUAL_CYCLES = 4

# POST's lanes, in cycles after a step is accepted. Sums are selected, get their bias and are
# registered before the requantiser; after it come zero point, saturation and maximum, a cycle
# each. With a residual every operand waits SLOT_DELAY more cycles for its slot.
#: A saturated result.
RESULT_AGE = DRAIN_LATENCY + 3 + REQUANTIZE_LATENCY + 2
#: Written, without a residual.
POST_LATENCY = RESULT_AGE + 1
#: What an operand waits for its slot of the requantiser.
SLOT_DELAY = (-REQUANTIZE_LATENCY - 1) % RESIDUAL_CYCLES
#: The result enters the requantiser again.
RESULT_INPUT = RESULT_AGE + 1 + SLOT_DELAY
#: Written, with a residual: result and sum have each gone through once more.
RESIDUAL_LATENCY = RESULT_INPUT + REQUANTIZE_LATENCY + 2 + SLOT_DELAY + REQUANTIZE_LATENCY + 3


def read_latency(*, vector: bool) -> int:
    """Return the cycles from a granted read of memory to its data."""
    return VECTOR_LATENCY if vector else ALIGNED_LATENCY


def post_read_latency(config: Config) -> int:
    """Return the cycles from a granted read of POST to its data: vectors only with residuals."""
    shared = SHARED_CYCLES if config.bank_ports == "dual" else 0
    return shared + read_latency(vector=config.residual)


def array_latency(config: Config) -> int:
    """Return the cycles from a vector entering the array to column 0's sum."""
    return config.rows + config.multiplier_stages + 1
