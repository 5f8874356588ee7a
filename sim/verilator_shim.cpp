// Plays the link of a Verilated accelerator: bytes queue up on both sides of the model, so that the
// host calls once for many thousand cycles. Everything is in clock cycles of the domain "sync".
// Verilator spells a double underscore in a port's name as "___05F".

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>

#include "Vtop.h"
#include "verilated.h"
#if VM_TRACE_FST
#include "verilated_fst_c.h"
#endif

namespace {

struct Device {
    VerilatedContext context;
    Vtop top{&context};
#if VM_TRACE_FST
    std::unique_ptr<VerilatedFstC> trace;
#endif
    std::deque<uint8_t> to_device, from_device;
    uint64_t cycles = 0;
    uint64_t byte_cycles = 1;
    // Cycle from which the line carries the next byte.
    uint64_t send_at = 0, receive_at = 0;

    void settle(int edge) {
        top.clk = edge == 1;
        top.eval();
#if VM_TRACE_FST
        if (trace) trace->dump(2 * cycles + edge);
#endif
    }

    void cycle() {
        const bool offering = !to_device.empty() && cycles >= send_at;
        const bool taking = cycles >= receive_at;
        top.rx___05Fvalid = offering;
        if (offering) top.rx___05Fpayload = to_device.front();
        top.tx___05Fready = taking;
        settle(0);
        if (offering && top.rx___05Fready) {
            to_device.pop_front();
            send_at = cycles + byte_cycles;
        }
        if (taking && top.tx___05Fvalid) {
            from_device.push_back(top.tx___05Fpayload);
            receive_at = cycles + byte_cycles;
        }
        settle(1);
        ++cycles;
    }
};

}  // namespace

extern "C" {

// A device out of reset; `trace` names a waveform file or is null. Returns null if the waveform
// cannot be written.
Device* systolith_create(const char* trace) {
    auto device = std::make_unique<Device>();
#if VM_TRACE_FST
    if (trace) {
        device->context.traceEverOn(true);
        device->trace = std::make_unique<VerilatedFstC>();
        device->top.trace(device->trace.get(), 99);
        device->trace->open(trace);
        if (!device->trace->isOpen()) return nullptr;
    }
#else
    if (trace) return nullptr;
#endif
    device->top.rst = 1;
    for (int i = 0; i < 4; ++i) device->cycle();
    device->top.rst = 0;
    return device.release();
}

void systolith_destroy(Device* device) {
    device->top.final();
#if VM_TRACE_FST
    if (device->trace) device->trace->close();
#endif
    delete device;
}

// From now on each link direction carries one byte in `byte_cycles` cycles; 1 at the start.
void systolith_pace(Device* device, uint64_t byte_cycles) { device->byte_cycles = byte_cycles; }

void systolith_send(Device* device, const uint8_t* bytes, size_t count) {
    device->to_device.insert(device->to_device.end(), bytes, bytes + count);
}

// Takes up to `count` bytes the device has sent; returns how many.
size_t systolith_receive(Device* device, uint8_t* bytes, size_t count) {
    size_t taken = 0;
    while (taken < count && !device->from_device.empty()) {
        bytes[taken++] = device->from_device.front();
        device->from_device.pop_front();
    }
    return taken;
}

// Runs until `wanted` bytes wait to be received or `cycles` have gone by; returns how many wait.
size_t systolith_run(Device* device, uint64_t cycles, size_t wanted) {
    const uint64_t end = device->cycles + cycles;
    while (device->from_device.size() < wanted && device->cycles < end) device->cycle();
    return device->from_device.size();
}

uint64_t systolith_cycles(const Device* device) { return device->cycles; }

}  // extern "C"
