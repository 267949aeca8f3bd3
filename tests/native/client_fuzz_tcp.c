/*
 * libFuzzer target for the whole of the packet engine's TCP, built by test_client_fuzz.py: a wild peer, a wild load and time
 * that jumps. Frames are built and thrown away. Besides memory errors: every connection ends with exactly one of finish, abort
 * and failed(), no event names one that has ended, bytes arrive in order, and nothing is left when all were closed.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/packet_tcp.h"

enum { MOST = 4 };

static struct packet_engine engine;
static const struct engine_operations *packet;
static const uint8_t *script, *script_end;
static bool live[MOST];
static uint32_t delivered[MOST]; /* the stream is the numbers from 0 on, modulo 251 */

static uint8_t next(void)
{
    return script < script_end ? *script++ : 0;
}

static void end(uint32_t number, bool reset)
{
    live[number] = false;
    (reset ? packet->abort : packet->finish)(&engine.base, number);
}

/* What a load may do inside an event. */
static void react(uint32_t number)
{
    static const char request[] = "GET /index.html HTTP/1.1\r\n\r\n";
    switch (next() % 8) {
    case 0:
        packet->send(&engine.base, number, request, 1 + next() % (sizeof request - 1));
        break;
    case 1:
        end(number, false);
        break;
    case 2:
        end(number, true);
        break;
    case 3:
        packet->confirm(&engine.base, number);
        break;
    default:
        break;
    }
}

static void on_event(void *owner, uint32_t number)
{
    (void)owner;
    assert(live[number]);
    react(number);
}

static void on_received(void *owner, uint32_t number, const uint8_t *bytes, size_t length)
{
    (void)owner;
    assert(live[number] && length);
    for (size_t i = 0; i < length; i++)
        assert(bytes[i] == delivered[number]++ % 251);
    packet->read(&engine.base, number, next());
    react(number);
}

static void on_failed(void *owner, uint32_t number, enum engine_error error)
{
    (void)owner;
    assert(live[number] && error != ENGINE_OK);
    live[number] = false;
}

static const struct engine_events events = {on_event, on_event, on_received, on_event, on_failed};

static void set_up(bool manual_read)
{
    struct packet_transmit transmit = engine.transmit; /* its memory is large: it stays from run to run */
    memset(&engine, 0, sizeof engine);
    packet = engine_find("packet");
    engine.base = (struct engine){.operations = packet, .events = &events, .now_ns = 1000000000};
    engine.settings = (struct engine_settings){.first_host = 0x0a4d4001, .host_count = 4, .most_connections = MOST,
                                               .initial_rto_ns = 1000000000, .minimum_rto_ns = 200000000,
                                               .receive_buffer = 4096, .manual_read = manual_read};
    engine.path = (struct frame_path){.target = 0x0a630001, .port = 8080};
    engine.own_mss = 1460;
    if (!transmit.arena) {
        transmit.arena = malloc(TRANSMIT_BYTES);
        transmit.vectors = calloc(TRANSMIT_FRAMES, sizeof *transmit.vectors);
        transmit.messages = calloc(TRANSMIT_FRAMES, sizeof *transmit.messages);
    }
    engine.transmit = transmit;
    engine.transmit.used = engine.transmit.head = engine.transmit.count = 0;
    engine.transmit.descriptor = engine.ring.descriptor = -1;
    assert(table_open(&engine) == 0);
    wheel_start(&engine.wheel, engine.timers, engine.base.now_ns);
    memset(live, 0, sizeof live);
}

/* A segment near what the connection expects, its payload true to the stream. */
static void inject(struct tcp_connection *connection, uint32_t stream_start)
{
    static const int8_t offsets[] = {0, 0, 0, 0, 1, -1, 3, -3, 100, -100, 20, 40, 60, -64, 127, 5};
    uint8_t bytes[256];
    struct segment segment = {.peer_address = engine.path.target, .peer_port = engine.path.port, .host = connection->host, .port = connection->port};
    segment.flags = next() & 63;
    segment.sequence = connection->receive_next + (uint32_t)offsets[next() % 16];
    segment.acknowledged = connection->send_next + (uint32_t)offsets[next() % 16];
    segment.window = (uint16_t)(next() * 7);
    segment.length = next();
    if (connection->state == TCP_SYN_SENT) {
        segment.sequence = next() * 0x01010101u;
        segment.mss = (uint16_t)(next() * 16);
        segment.has_window_shift = next() & 1;
        segment.window_shift = segment.has_window_shift ? next() % 15 : 0;
        segment.length = 0;
    }
    for (uint32_t i = 0; i < segment.length; i++)
        bytes[i] = (uint8_t)((segment.sequence + i - stream_start) % 251);
    /* Before the stream's first byte there is nothing to be true to. */
    if (connection->state != TCP_SYN_SENT && sequence_before(segment.sequence, stream_start))
        segment.length = 0;
    segment.payload = bytes;
    tcp_input(&engine, &segment);
}

static void step(void)
{
    uint8_t slot = next() % MOST;
    struct tcp_connection *connection = &engine.connections[slot];
    switch (next() % 4) {
    case 0: {
        uint32_t number;
        engine.transmit.used = engine.transmit.head = engine.transmit.count = 0;
        if (packet->connect(&engine.base, &number) == ENGINE_OK) {
            assert(!live[number]);
            live[number] = true;
            delivered[number] = 0;
        }
        break;
    }
    case 1:
        engine.base.now_ns += (uint64_t)next() * next() * 100000;
        for (uint32_t timer; (timer = wheel_pop(&engine.wheel, engine.base.now_ns)) != WHEEL_NONE;)
            tcp_timer(&engine, &engine.connections[timer]);
        break;
    default:
        if (connection->state != TCP_FREE) {
            uint32_t start = live[slot] ? connection->receive_next - delivered[slot] : connection->receive_next;
            inject(connection, start);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    script = bytes;
    script_end = bytes + length;
    set_up(next() & 1);
    while (script < script_end)
        step();
    for (uint32_t i = 0; i < MOST; i++)
        if (live[i])
            end(i, true);
    for (uint32_t i = 0; i < MOST; i++)
        if (engine.connections[i].state != TCP_FREE)
            table_release(&engine, &engine.connections[i]);
    assert(engine.open == 0);
    table_close(&engine);
    return 0;
}
