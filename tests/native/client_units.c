/*
 * Parts of the packet engine and of loadgen that need no network: timers, think times, pairs of host and port, initial sequence
 * numbers, checksums. Built and run by test_client_units.py; a failed assertion is a failed test.
 */
#define _GNU_SOURCE
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/address_pairs.h"
#include "engine/packet_tcp.h"
#include "random.h"
#include "think.h"

enum { TIMERS = 500 };

static struct random_state random_numbers = {.state = 1};

/* Every timer goes off: not later than a tick after its deadline, and not before unless it lay beyond the wheel. */
static void test_wheel(void)
{
    static struct wheel wheel;
    static struct wheel_timer timers[TIMERS];
    static uint64_t deadlines[TIMERS]; /* 0: not set */
    uint64_t now = 123456789012ull;
    wheel_start(&wheel, timers, now);
    for (int step = 0; step < 40000; step++) {
        uint32_t timer = (uint32_t)(random_next(&random_numbers) % TIMERS);
        static const uint64_t spans[] = {1000000, 40000000, 1000000000, 7000000000, 30000000000};
        uint64_t deadline = now + random_next(&random_numbers) % spans[step % 5];
        if (!deadlines[timer] || deadline < deadlines[timer]) /* lazy: a later one leaves it where it is */
            deadlines[timer] = deadline;
        wheel_set(&wheel, timer, deadlines[timer]);
        assert(wheel_next_ns(&wheel) <= deadlines[timer] + 2 * NS_PER_MS);
        now += random_next(&random_numbers) % (step % 1000 == 0 ? 9000000000u : 3000000u);
        for (uint32_t due; (due = wheel_pop(&wheel, now)) != WHEEL_NONE;) {
            assert(deadlines[due]);
            if (deadlines[due] > now) /* beyond the wheel: set again, as its owner does */
                wheel_set(&wheel, due, deadlines[due]);
            else
                deadlines[due] = 0;
        }
        for (uint32_t i = 0; i < TIMERS; i++)
            assert(!deadlines[i] || deadlines[i] + NS_PER_MS >= now);
    }
}

static void test_think_heap(void)
{
    struct think_heap heap = {0};
    uint64_t last = 0;
    for (uint32_t i = 0; i < 5000; i++)
        think_push(&heap, (struct think){.at_ns = random_next(&random_numbers) % 1000, .connection = i});
    for (uint32_t i = 0; i < 5000; i++) {
        assert(think_next_ns(&heap) >= last);
        last = think_pop(&heap).at_ns;
    }
    assert(heap.count == 0 && think_next_ns(&heap) == UINT64_MAX);
    think_close(&heap);
}

/* All pairs come before one comes again, and hosts take turns. */
static void test_pairs(void)
{
    static bool seen[3][65536];
    struct engine_settings settings = {.first_host = 100, .host_count = 3};
    uint64_t next = pairs_begin();
    uint32_t host, last = 0;
    uint16_t port;
    for (int i = 0; i < 3 * PAIRS_PORTS; i++) {
        pairs_next(&next, &settings, &host, &port);
        assert(host >= 100 && host < 103 && port >= PAIRS_FIRST_PORT && host != last);
        assert(!seen[host - 100][port]);
        seen[host - 100][port] = true;
        last = host;
    }
}

static void no_event(void *owner, uint32_t connection)
{
    (void)owner;
    (void)connection;
    assert(!"no event is expected");
}

/* A pair that comes back later has higher sequence numbers, so that a server in TIME_WAIT takes the SYN; and the table's limits. */
static void test_reuse(void)
{
    static struct packet_engine engine;
    static const struct engine_events events = {.connected = no_event, .confirmed = no_event, .peer_closed = no_event};
    const struct engine_operations *packet = engine_find("packet");
    engine.base = (struct engine){.operations = packet, .events = &events, .now_ns = 5 * NS_PER_S};
    engine.settings = (struct engine_settings){.first_host = 7, .host_count = 1, .most_connections = 3, .initial_rto_ns = NS_PER_S};
    engine.transmit.arena = malloc(TRANSMIT_BYTES);
    engine.transmit.vectors = calloc(TRANSMIT_FRAMES, sizeof *engine.transmit.vectors);
    engine.transmit.messages = calloc(TRANSMIT_FRAMES, sizeof *engine.transmit.messages);
    engine.transmit.descriptor = -1;
    assert(table_open(&engine) == 0);
    wheel_start(&engine.wheel, engine.timers, engine.base.now_ns);
    uint64_t pair = engine.next_pair;
    uint32_t first, again, more, sequence;
    assert(packet->connect(&engine.base, &first) == ENGINE_OK);
    sequence = engine.connections[first].send_unacknowledged;
    uint16_t port = engine.connections[first].port;
    packet->abort(&engine.base, first);
    engine.next_pair = pair;
    engine.base.now_ns += NS_PER_S;
    assert(packet->connect(&engine.base, &again) == ENGINE_OK);
    assert(engine.connections[again].port == port);
    assert(engine.connections[again].send_unacknowledged - sequence == NS_PER_S >> 6);
    engine.next_pair = pair; /* in use: the next pair is taken */
    assert(packet->connect(&engine.base, &more) == ENGINE_OK && engine.connections[more].port != port);
    assert(packet->connect(&engine.base, &more) == ENGINE_OK);
    assert(packet->connect(&engine.base, &more) == ENGINE_TABLE_FULL);
    assert(packet->open_connections(&engine.base) == 3);
    for (uint32_t i = 0; i < 3; i++)
        packet->abort(&engine.base, i);
    assert(packet->open_connections(&engine.base) == 0);
    table_close(&engine);
    transmit_close(&engine.transmit);
}

static void test_checksum(void)
{
    uint8_t bytes[2000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)random_next(&random_numbers);
    for (size_t length = 0; length <= sizeof bytes; length += 1 + length / 7) {
        uint32_t sum = 0; /* two bytes at a time, as RFC 1071 writes it */
        for (size_t i = 0; i < length; i++)
            sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
        while (sum >> 16)
            sum = (sum & 0xffff) + (sum >> 16);
        uint16_t fast = checksum_fold(checksum_add(0, bytes, length));
        assert((uint16_t)(fast << 8 | fast >> 8) == sum);
    }
}

/* A frame came when the kernel stamped it, unless the wall clock was set in the meantime. */
static void test_arrival(void)
{
    uint64_t now = clock_now_ns();
    struct packet_ring ring = {.asked_ns = now - 8 * NS_PER_MS, .earliest_ns = now - 8 * NS_PER_MS};
    struct packet_frame frame = {.stamp_ns = clock_read_ns(CLOCK_REALTIME) - 5 * NS_PER_MS};
    uint64_t arrived = ring_arrival_ns(&ring, &frame, now);
    assert(arrived > now - 7 * NS_PER_MS && arrived < now - 3 * NS_PER_MS);
    frame.stamp_ns += 3600 * NS_PER_S;
    assert(ring_arrival_ns(&ring, &frame, now) == now);
    frame.stamp_ns -= 2 * 3600 * NS_PER_S;
    assert(ring_arrival_ns(&ring, &frame, now) == now - 8 * NS_PER_MS);
    frame.stamp_ns = 0;
    assert(ring_arrival_ns(&ring, &frame, now) >= ring.earliest_ns);
}

int main(void)
{
    test_arrival();
    test_wheel();
    test_think_heap();
    test_pairs();
    test_reuse();
    test_checksum();
    puts("all units passed");
    return 0;
}
