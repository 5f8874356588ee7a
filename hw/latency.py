"""How many cycles the pipelines take: numbers alone, for the RTL and the model of its cycles.

The constants are those of deep pipelines; the functions know the shallow ones too.
"""

from systolith.hw.config import Config

__all__ = [
    "ACCUMULATE_CYCLES", "AHEAD", "ALIGNED_LATENCY", "BANK_LATENCY", "CLAIM_LATENCY",
    "DRAIN_LATENCY", "EXPONENTIAL_LATENCY", "FETCH_LATENCY", "FLUSH_CYCLES", "GRANT_LATENCY",
    "OFFSET_AGE", "OPERAND_INPUT", "PLACE_LEAD", "POST_LATENCY", "PRODUCT_BLOCKS", "PRODUCT_CYCLES",
    "PRODUCT_PASSES", "RANDOM_LATENCY", "RECIPROCAL_CYCLES", "REQUANTIZE_LATENCY",
    "RESIDUAL_CYCLES", "RESIDUAL_LATENCY", "RESULT_AGE", "RESULT_WAIT",
    "ROUNDING_LATENCY", "SCALED_LATENCY", "SETTLE_CYCLES", "SHARED_REQUEST", "STEP_CYCLES",
    "SUM_INPUT", "TOTAL_WAIT", "TRAINING_LATENCY", "VECTOR_LATENCY", "WIDE_STAGES",
    "WINDOW_LATENCY", "WRITE_LATENCY", "accumulate_cycles", "array_latency", "claim_latency",
    "claimable_word", "drain_latency", "fill_latency", "load_cycle", "loss_latency",
    "part_delay", "post_latency", "post_read_latency", "read_latency", "shared_cycles",
    "softmax_cycles", "take_latency",
]

#: From a grant to the banks' reading: the winner, its copies, the banks' registers.
GRANT_LATENCY = 3
#: A bank: from reading to its data.
BANK_LATENCY = 3
#: Unified memory: from a granted word read to its data, chosen of the banks' and registered again.
ALIGNED_LATENCY = GRANT_LATENCY + BANK_LATENCY + 2
#: From a granted vector read to its data: the word's, and two for the rotator.
VECTOR_LATENCY = ALIGNED_LATENCY + 2
#: From a vector write to its claim on a bank.
CLAIM_LATENCY = 2
#: From a vector write to the edge that stores it, as from a granted read to the one that reads.
WRITE_LATENCY = CLAIM_LATENCY + GRANT_LATENCY + 1

#: Port of POST and DMA: from a request to memory's grant.
SHARED_REQUEST = 2

#: Sequencer: words read ahead of the one that is being looked at.
AHEAD = 8
#: From asking the program memory to the word's way into the queue.
FETCH_LATENCY = 3

#: Window unit: from a pixel to the window it completes.
WINDOW_LATENCY = 4

#: Accumulators: from presenting an address for reading to the edge that stores the new sum, plus
#: one: the same address may not come again sooner.
ACCUMULATE_CYCLES = 4
#: From POST's address to its data: the address is registered beside each memory.
DRAIN_LATENCY = 3

#: A wide product: operands, pipeline and output registers of the DSP.
WIDE_STAGES = 3
#: Requantiser: left shift in two, product, three additions, rounding, right shift in two.
REQUANTIZE_LATENCY = 2 + WIDE_STAGES + 3 + 1 + 2

#: Serial product of shallow pipelines: blocks of rows. A partial sum goes through each twice.
PRODUCT_BLOCKS = 4
PRODUCT_PASSES = 2 * PRODUCT_BLOCKS
#: From a sum to its product: the sum's own register, and the passes.
PRODUCT_CYCLES = 1 + PRODUCT_PASSES
#: Between the starts of two results.
STEP_CYCLES = 2
#: Between a channel's last step and the first read of the next one's parameters, of which the
#: factor is the second: what is on its way needs the old one until its last pass.
SETTLE_CYCLES = PRODUCT_PASSES - 2

#: A residual addition needs the requantiser three times: once for the sum of products, once for
#: one operand (half of the other is no product), once for their sum. A result takes so many cycles
#: then.
RESIDUAL_CYCLES = 3

# POST's lanes, in cycles after a step is accepted. Sums are selected, get their bias and are
# registered before the requantiser; after it come zero point, comparison, saturation and maximum, a
# cycle each.
#: The sum is in the requantiser's input.
SUM_INPUT = DRAIN_LATENCY + 3
#: A saturated result.
RESULT_AGE = SUM_INPUT + REQUANTIZE_LATENCY + 3
#: Written, without a residual.
POST_LATENCY = RESULT_AGE + 1

# With a residual the slots follow one another: sum, operand, total. The result and the residual
# lose their zero points, one of them is chosen, or what comes later, and enters, a cycle each;
# before, they wait for their slot.
#: What the result waits.
RESULT_WAIT = (-REQUANTIZE_LATENCY - 5) % RESIDUAL_CYCLES
#: The operand enters the requantiser.
OPERAND_INPUT = RESULT_AGE + RESULT_WAIT + 3
#: What the total of both operands waits.
TOTAL_WAIT = (-REQUANTIZE_LATENCY - 2) % RESIDUAL_CYCLES
#: Written, with a residual: an operand and the total have each gone through, too.
RESIDUAL_LATENCY = (OPERAND_INPUT + REQUANTIZE_LATENCY + 1 + TOTAL_WAIT + 2
                    + REQUANTIZE_LATENCY + 4)

# Training. The right shift comes before the rounding's offset is added to what it leaves.
#: A random number: a round of the cipher a cycle.
RANDOM_LATENCY = 6
#: A sum waits for the left shift of its operand in two, their addition, its own shift in two.
OFFSET_AGE = 2 + 1 + 2
#: An element of a sum: the offset and saturation follow.
ROUNDING_LATENCY = OFFSET_AGE + 2
#: From a step's sums to its result: with the maximum.
TRAINING_LATENCY = ROUNDING_LATENCY + 1
#: Behind the last result until all of a nest is on its way and its range is whole.
FLUSH_CYCLES = 4
#: How long before its sums the place of a step is needed: a lane's own place, the random number,
#: the choice of the offset.
PLACE_LEAD = 1 + RANDOM_LATENCY + 1 - OFFSET_AGE

# The loss unit.
#: A power: the distance shifted in two and rounded, the table and its register, shifted in two.
EXPONENTIAL_LATENCY = 3 + 2 + 2
#: The reciprocal of the sum of powers: a bit a cycle.
RECIPROCAL_CYCLES = 32
#: From reading a class to its product: block RAM, operand, product, its halves added.
SCALED_LATENCY = 2 + 1 + WIDE_STAGES + 1


def take_latency(config: Config) -> int:
    """Return the cycles from taking a nest to its start.

    Two more where its registers are copied behind the running ones: the copies reach far, and the
    loops look at them before they start.
    """
    return 3 if config.prefetch_descriptors else 1


def read_latency(config: Config, *, vector: bool) -> int:
    """Return the cycles from a granted read of memory to its data."""
    if config.shallow:                           # the memory itself
        return 1
    return VECTOR_LATENCY if vector else ALIGNED_LATENCY


def shared_cycles(config: Config) -> int:
    """Return what the port of POST and DMA adds to a read: two registers before, one behind it.

    With single-ported banks a write can refuse even this port, the first in priority, and waiting
    there would hide from POST when its data come: there are no such registers.
    """
    return 0 if config.shallow or config.bank_ports == "single" else SHARED_REQUEST + 1


def post_read_latency(config: Config) -> int:
    """Return the cycles from a granted read of POST to its data: vectors only with residuals."""
    return shared_cycles(config) + read_latency(config, vector=config.residual)


def claim_latency(config: Config) -> int:
    """Return the cycles from a vector write to its claim on a bank, as ``CLAIM_LATENCY``."""
    return 1 if config.shallow else CLAIM_LATENCY


def claimable_word(config: Config) -> int:
    """Return the word of a tile with which vectors of deep pipelines may claim it.

    They need it row by row from the swap on, clusters the last of their rows when the first is due.
    """
    return max(load_cycle(config, row) - row // config.cluster_rows for row in range(config.rows))


def part_delay(config: Config, part: int) -> int:
    """Return how much later than in its word a part of a tile enters the array."""
    return part * config.load_words // config.cluster_rows


def load_cycle(config: Config, row: int) -> int:
    """Return the cycle of a tile's burst in which a row's weights reach column 0."""
    part, word = divmod(row, config.load_words)
    return part_delay(config, part) + word


def array_latency(config: Config) -> int:
    """Return the cycles from a vector entering the array to column 0's sum."""
    if config.clustered:                         # activations are operands
        return config.multiplier_stages + config.row_clusters
    return config.multiplier_stages + 1 + (0 if config.shallow else config.rows)


def accumulate_cycles(config: Config) -> int:
    """Return the accumulators' cycles, as ``ACCUMULATE_CYCLES``."""
    return 2 if config.shallow else ACCUMULATE_CYCLES


def fill_latency(config: Config) -> int:
    """Return the cycles from a vector leaving STREAM to its sums lying in every store."""
    if config.shallow:                           # at once in all columns
        return array_latency(config) - 1 + accumulate_cycles(config)
    # one register on the way to the array, one behind it, and a cycle more for each column
    return array_latency(config) + config.column_clusters - 1 + ACCUMULATE_CYCLES


def drain_latency(config: Config) -> int:
    """Return the cycles from POST's address to its data."""
    return 1 if config.shallow else DRAIN_LATENCY


def softmax_cycles(classes: int) -> int:
    """Return the loss unit's cycles for a sample, from its first logit in to its last gradient out.

    Three rounds over the classes, the latter two with what their values take to come back.
    """
    powers = SCALED_LATENCY + EXPONENTIAL_LATENCY
    gradients = SCALED_LATENCY + 1 + 2           # rounding; the queue
    return 3 * classes + powers + RECIPROCAL_CYCLES + 1 + gradients


def loss_latency(classes: int) -> int:
    """Return the cycles from a sample's last logit to what its loss is made of, in POST."""
    return softmax_cycles(classes) - classes + 1


def post_latency(config: Config) -> int:
    """Return the cycles from a step of POST to its result, without a residual."""
    if config.shallow:                           # quotient, saturation and maximum
        return drain_latency(config) + PRODUCT_CYCLES + 3
    return POST_LATENCY
