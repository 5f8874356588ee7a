"""Words in order, whatever the rhythm of writing and taking."""

from collections import deque

from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from systolith.hw.lane_buffer import LaneBuffer

DEPTH = 4


@settings(max_examples=25, deadline=None)
@given(rhythm=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60),
       groups=st.sampled_from([1, 2, 4]))
def test_words_come_out_in_order(rhythm, groups):
    buffer, kept, written = LaneBuffer(width=16, depth=DEPTH, groups=groups), deque(), 0

    async def bench(ctx):
        nonlocal written
        coming = False
        for write, take in rhythm:
            write, take = write and len(kept) + coming < DEPTH, take and len(kept) > 0
            if kept:
                assert ctx.get(buffer.word) == kept[0]
            word = (written * 0x1357 + 0x2468) & 0xFFFF
            ctx.set(buffer.coming, write)
            ctx.set(buffer.written, word)
            ctx.set(buffer.take, take)
            await ctx.tick()
            if take:
                kept.popleft()
            if coming:
                kept.append(word)
                written += 1
            coming = write

    simulator = Simulator(buffer)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
