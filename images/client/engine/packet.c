/*
 * The packet engine: whole populations of emulated hosts on one AF_PACKET socket, with a TCP of its own. Needs CAP_NET_RAW; the
 * server routes the hosts' prefix to this machine's address, and this machine must not forward (net.ipv4.ip_forward=0).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/packet_tcp.h"

enum {
    RECEIVE_BATCH = 32, /* frames handled before the load may start what became due */
    CLOCK_BATCH = 16,   /* frames that share a reading of the clock */
    FLUSH_FRAMES = 64,
    MOST_SHIFT = 14,
    BETWEEN_RESETS_NS = 1000000, /* after a batch of FLUSH_FRAMES */
};

static struct packet_engine *packet_of(struct engine *engine)
{
    return (struct packet_engine *)engine;
}

static void set_window(struct packet_engine *engine)
{
    while (engine->own_shift < MOST_SHIFT && engine->settings.receive_buffer >> engine->own_shift > UINT16_MAX)
        engine->own_shift++;
    engine->own_mss = (uint16_t)((engine->way.mtu > 9000 ? 9000 : engine->way.mtu) - IP_BYTES - TCP_BYTES);
    engine->path.target = ntohl(engine->settings.target.s_addr);
    engine->path.port = engine->settings.port;
    memcpy(engine->path.source_mac, engine->way.mac, 6);
    memcpy(engine->path.target_mac, engine->way.gateway_mac, 6);
}

static void frame_input(void *owner, const struct packet_frame *frame);

/* What has come up a host's link. */
static void access_up(void *owner, const uint8_t *bytes, size_t length)
{
    struct packet_engine *engine = owner;
    if (transmit_waiting(&engine->transmit) >= FLUSH_FRAMES)
        transmit_flush(&engine->transmit, engine->base.now_ns);
    uint8_t *frame = transmit_reserve(&engine->transmit, length);
    if (frame)
        memcpy(frame, bytes, length);
}

static int open_access(struct packet_engine *engine)
{
    const struct engine_settings *settings = &engine->settings;
    struct access_settings access = {.plan = settings->access,
                                     .seed = settings->access_seed,
                                     .first_host = settings->first_host,
                                     .host_count = settings->host_count,
                                     .most_payload = engine->own_mss};
    struct access_outlets outlets = {.up = access_up, .down = frame_input, .owner = engine};
    if (settings->access)
        engine->access = access_open(&access, &outlets, engine->base.now_ns);
    return settings->access && !engine->access ? -1 : 0;
}

static const struct engine_operations packet_operations;
static void packet_close(struct engine *base);

static struct engine *packet_open(const struct engine_settings *settings, const struct engine_events *events, void *owner,
                                  char *problem, size_t room)
{
    struct packet_engine *engine = calloc(1, sizeof *engine);
    if (!engine) {
        snprintf(problem, room, "no memory");
        return NULL;
    }
    engine->base = (struct engine){.operations = &packet_operations, .events = events, .owner = owner, .now_ns = clock_now_ns()};
    engine->settings = *settings;
    engine->ring.descriptor = engine->transmit.descriptor = -1;
    if (way_resolve(&engine->way, settings, problem, room) < 0) {
        packet_close(&engine->base);
        return NULL;
    }
    set_window(engine);
    const char *step = "memory for connections";
    if (table_open(engine) == 0 && open_access(engine) == 0) {
        wheel_start(&engine->wheel, engine->timers, engine->base.now_ns);
        step = "packet socket for sending";
        if (transmit_open(&engine->transmit, engine->way.interface) == 0) {
            step = "receive ring";
            if (ring_open(&engine->ring, engine->way.interface, settings->first_host, settings->host_count, settings->ring_frames,
                          settings->ring_frame_bytes) == 0)
                return &engine->base;
        }
    }
    snprintf(problem, room, "%s: %s", step, strerror(errno));
    packet_close(&engine->base);
    return NULL;
}

/* Grows with time (64 ns a step) and differs between pairs: RFC 6528 without its secret, which nobody here attacks. A pair that
   comes back is above its former numbers, so a server that still remembers it takes the SYN. */
static uint32_t initial_sequence(const struct packet_engine *engine, const struct tcp_connection *connection)
{
    uint64_t pair = ((uint64_t)connection->host << 16 | connection->port) * 0xd6e8feb86659fd93ull;
    return (uint32_t)(pair >> 32) + (uint32_t)(engine->base.now_ns >> 6);
}

static enum engine_error packet_connect(struct engine *base, uint32_t *number)
{
    struct packet_engine *engine = packet_of(base);
    enum engine_error error = ENGINE_OK;
    struct tcp_connection *connection = table_take(engine, &error);
    if (!connection)
        return error;
    /* A large burst of starts must not fill the queue; a fault of the interface shows again in wait(). */
    if (transmit_waiting(&engine->transmit) >= FLUSH_FRAMES)
        transmit_flush(&engine->transmit, base->now_ns);
    *number = connection_number(engine, connection);
    uint32_t sequence = initial_sequence(engine, connection);
    connection->state = TCP_SYN_SENT;
    connection->owned = true;
    connection->send_unacknowledged = sequence;
    connection->send_next = connection->send_highest = connection->send_end = connection->data_start = sequence + 1;
    connection->rto_us = (uint32_t)(engine->settings.initial_rto_ns / NS_PER_US);
    connection->timed_sequence = sequence + 1;
    connection->timed_at_ns = base->now_ns;
    tcp_send_syn(engine, connection);
    return ENGINE_OK;
}

/* Puts unacknowledged and new bytes side by side, when they are not already. */
static void join(struct tcp_connection *connection, const void *bytes, size_t length)
{
    uint32_t kept = connection->send_end - connection->send_unacknowledged;
    const uint8_t *rest = connection->data + (connection->send_unacknowledged - connection->data_start);
    uint8_t *joined = malloc(kept + length);
    if (!joined)
        abort(); /* a few hundred bytes: the machine is out of memory */
    memcpy(joined, rest, kept);
    memcpy(joined + kept, bytes, length);
    free(connection->copy);
    connection->copy = joined;
    connection->data = joined;
    connection->data_start = connection->send_unacknowledged;
}

static void packet_send(struct engine *base, uint32_t number, const void *bytes, size_t length)
{
    struct packet_engine *engine = packet_of(base);
    struct tcp_connection *connection = &engine->connections[number];
    bool syn_sent = connection->state == TCP_SYN_SENT;
    bool all_acknowledged = !syn_sent && connection->send_unacknowledged == connection->send_end;
    if (all_acknowledged || connection->send_end == connection->data_start) {
        connection->data = bytes;
        connection->data_start = connection->send_end;
    } else if (connection->data + (connection->send_end - connection->data_start) != bytes) {
        if (syn_sent)
            connection->send_unacknowledged++; /* past the SYN, where data begins */
        join(connection, bytes, length);
        if (syn_sent)
            connection->send_unacknowledged--;
    }
    connection->send_end += (uint32_t)length;
    if (!syn_sent)
        tcp_output(engine, connection);
}

static void packet_confirm(struct engine *base, uint32_t number)
{
    struct packet_engine *engine = packet_of(base);
    struct tcp_connection *connection = &engine->connections[number];
    connection->confirming = true;
    tcp_send_ack(engine, connection); /* first: the handshake's own */
    tcp_send_probe(engine, connection);
}

static void packet_finish(struct engine *base, uint32_t number)
{
    struct packet_engine *engine = packet_of(base);
    struct tcp_connection *connection = &engine->connections[number];
    connection->owned = false;
    connection->fin_queued = true;
    if (connection->state == TCP_SYN_SENT)
        return;
    connection->state = connection->state == TCP_CLOSE_WAIT ? TCP_LAST_ACK : TCP_FIN_WAIT_1;
    tcp_output(engine, connection);
}

static void packet_abort(struct engine *base, uint32_t number)
{
    struct packet_engine *engine = packet_of(base);
    tcp_send_reset(engine, &engine->connections[number]);
    table_release(engine, &engine->connections[number]);
}

static void packet_read(struct engine *base, uint32_t number, uint32_t length)
{
    struct packet_engine *engine = packet_of(base);
    struct tcp_connection *connection = &engine->connections[number];
    connection->unread -= length < connection->unread ? length : connection->unread;
    uint32_t edge = connection->receive_next + engine->settings.receive_buffer - connection->unread;
    uint32_t least = engine->settings.receive_buffer / 2 < connection->mss ? engine->settings.receive_buffer / 2 : connection->mss;
    /* Small openings stay untold (RFC 1122, silly window). */
    if (!sequence_before(edge, connection->receive_edge + least))
        tcp_send_ack(engine, connection);
}

static void frame_input(void *owner, const struct packet_frame *frame)
{
    struct packet_engine *engine = owner;
    struct segment segment;
    switch (frame_parse(frame->bytes, frame->length, frame->checksum_known, &segment)) {
    case FRAME_SEGMENT:
        tcp_input(engine, &segment);
        break;
    case FRAME_OTHER:
        engine->counters.not_understood++;
        break;
    case FRAME_BAD_CHECKSUM:
        engine->counters.bad_checksums++;
        break;
    }
}

static int receive(struct packet_engine *engine)
{
    struct packet_frame frame;
    int count = 0;
    while (count < RECEIVE_BATCH && ring_next(&engine->ring, &frame)) {
        if (count++ % CLOCK_BATCH == 0) {
            engine->base.now_ns = clock_now_ns();
            if (engine->access)
                access_release(engine->access, engine->base.now_ns);
        }
        if (engine->access)
            access_receive(engine->access, &frame, ring_arrival_ns(&engine->ring, &frame, engine->base.now_ns));
        else
            frame_input(engine, &frame);
        ring_release(&engine->ring);
        if (transmit_waiting(&engine->transmit) >= FLUSH_FRAMES && transmit_flush(&engine->transmit, engine->base.now_ns) < 0)
            return -1;
    }
    return count;
}

static void run_timers(struct packet_engine *engine)
{
    engine->base.now_ns = clock_now_ns();
    for (uint32_t timer; (timer = wheel_pop(&engine->wheel, engine->base.now_ns)) != WHEEL_NONE;)
        tcp_timer(engine, &engine->connections[timer]);
    if (engine->access)
        access_release(engine->access, engine->base.now_ns);
}

/* Sleeps until a frame, a timer, the end of a pause in sending, or the deadline. */
static int sleep_until(struct packet_engine *engine, uint64_t deadline_ns)
{
    uint64_t timer_ns = wheel_next_ns(&engine->wheel), now = clock_now_ns();
    if (timer_ns < deadline_ns)
        deadline_ns = timer_ns;
    if (engine->access && access_next_ns(engine->access) < deadline_ns)
        deadline_ns = access_next_ns(engine->access);
    if (transmit_waiting(&engine->transmit) && engine->transmit.paused_until_ns < deadline_ns)
        deadline_ns = engine->transmit.paused_until_ns;
    if (deadline_ns <= now)
        return 0;
    uint64_t left = deadline_ns - now;
    struct timespec timeout = {.tv_sec = (time_t)(left / NS_PER_S), .tv_nsec = (long)(left % NS_PER_S)};
    struct pollfd ready = {.fd = engine->ring.descriptor, .events = POLLIN};
    int count = ppoll(&ready, 1, &timeout, NULL);
    if (count < 0)
        return -1;
    if (count > 0 && ready.revents & POLLERR) {
        socklen_t length = sizeof errno;
        int error = 0;
        if (getsockopt(engine->ring.descriptor, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error) {
            errno = error;
            return -1;
        }
    }
    return 0;
}

static int packet_wait(struct engine *base, uint64_t deadline_ns)
{
    struct packet_engine *engine = packet_of(base);
    run_timers(engine);
    if (transmit_flush(&engine->transmit, base->now_ns) < 0)
        return -1;
    int count = receive(engine);
    if (count == 0) {
        if (sleep_until(engine, deadline_ns) < 0)
            return -1;
        count = receive(engine);
    }
    base->now_ns = clock_now_ns();
    if (count < 0)
        return -1;
    return transmit_flush(&engine->transmit, base->now_ns);
}

static uint32_t packet_open_connections(const struct engine *base)
{
    return ((const struct packet_engine *)base)->open;
}

static uint64_t packet_losses(const struct engine *base)
{
    const struct tcp_counters *counters = &((const struct packet_engine *)base)->counters;
    return counters->retransmissions + counters->peer_retransmissions;
}

static void packet_counters(struct engine *base, struct json *json)
{
    struct packet_engine *engine = packet_of(base);
    const struct tcp_counters *counters = &engine->counters;
    ring_count_drops(&engine->ring);
    json_uint(json, "frames_sent", engine->transmit.sent);
    json_uint(json, "frames_received", engine->ring.received);
    json_uint(json, "ring_drops", engine->ring.drops);
    json_uint(json, "send_drops", engine->transmit.drops);
    json_uint(json, "send_refusals", engine->transmit.refusals);
    json_uint(json, "retransmissions", counters->retransmissions);
    json_uint(json, "peer_retransmissions", counters->peer_retransmissions);
    json_uint(json, "resets_received", counters->resets_received);
    json_uint(json, "resets_sent", counters->resets_sent);
    json_uint(json, "bad_checksums", counters->bad_checksums);
    json_uint(json, "not_understood", counters->not_understood);
    json_uint(json, "duplicates", counters->duplicates);
    json_uint(json, "out_of_order", counters->out_of_order);
    json_uint(json, "strays", counters->strays);
    json_uint(json, "keep_alives", counters->keep_alives);
    if (engine->access) {
        json_object_open(json, "links");
        access_counters(engine->access, json);
        json_object_close(json);
    }
}

/* Resets what is open, a batch at a time so that all of it leaves, and no faster than a server that is ending the same connections
   takes it: a reset that its kernel drops is not sent again, and leaves a socket there that knocks for minutes. */
static void reset_all(struct packet_engine *engine)
{
    for (uint32_t i = 0; i < engine->touched; i++) {
        struct tcp_connection *connection = &engine->connections[i];
        if (connection->state == TCP_FREE)
            continue;
        tcp_send_reset(engine, connection);
        table_release(engine, connection);
        for (int tries = 0; transmit_waiting(&engine->transmit) >= FLUSH_FRAMES && tries < 100; tries++) {
            if (transmit_flush(&engine->transmit, clock_now_ns()) < 0)
                return;
            nanosleep(&(struct timespec){.tv_nsec = BETWEEN_RESETS_NS}, NULL);
        }
    }
    transmit_flush(&engine->transmit, UINT64_MAX);
}

static void packet_close(struct engine *base)
{
    struct packet_engine *engine = packet_of(base);
    /* What is on its way reaches the server, and what it must forget it hears without delay. */
    if (engine->access)
        access_close(engine->access);
    engine->access = NULL;
    if (engine->ring.descriptor >= 0)
        reset_all(engine);
    ring_close(&engine->ring);
    transmit_close(&engine->transmit);
    table_close(engine);
    free(engine);
}

static const struct engine_operations packet_operations = {
    .name = "packet",
    .own_links = true,
    .open = packet_open,
    .connect = packet_connect,
    .send = packet_send,
    .confirm = packet_confirm,
    .finish = packet_finish,
    .abort = packet_abort,
    .read = packet_read,
    .wait = packet_wait,
    .open_connections = packet_open_connections,
    .losses = packet_losses,
    .counters = packet_counters,
    .close = packet_close,
};
ENGINE_REGISTER(packet_operations)
