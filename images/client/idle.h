/*
 * A population of connections that stay open: it is filled at a pace that the server's backlog can stand, and whatever closes
 * is replaced.
 *
 * Pace: handshakes are started at a rate that halves whenever a SYN, or the server's answer, had to be sent again (its backlog was
 * full), and grows slowly while none is; and never more than `most_handshakes` are unanswered. A connection counts when the
 * server has confirmed that it knows it.
 */
#ifndef CLIENT_IDLE_H
#define CLIENT_IDLE_H

#include <signal.h>

#include "engine.h"
#include "http_reply.h"

enum idle_mode { IDLE_SILENT, IDLE_HEARTBEAT, IDLE_SLOW_READER };

struct idle_settings {
    uint32_t wanted;
    uint32_t most_handshakes;
    double pace_per_s;
    enum idle_mode mode;
    uint64_t give_up_ns;
    uint32_t read_bytes_per_s; /* slow-reader */
    const char *request;       /* slow-reader */
    uint32_t request_length;
};

enum idle_state { IDLE_NONE, IDLE_CONNECTING, IDLE_ESTABLISHED /* and confirmed by the server */ };

struct idle_connection {
    uint8_t state;
    uint16_t beats; /* bytes of the heartbeat's header sent so far */
    struct http_reply reply;
};

struct idle {
    struct idle_settings settings;
    struct engine *engine;
    struct idle_connection *connections;
    uint32_t slots;
    uint32_t established, handshakes, minimum_established;
    uint64_t reestablished, refused, resets, timeouts, closed_by_peer, unavailable;
    bool ready;
    double pace_per_s, tokens;
    uint64_t paced_until_ns, adapted_at_ns, losses_seen;
    uint64_t begin_ns, ready_ns, next_interval_ns, next_tick_ns;
    uint32_t sweep; /* the slot at which the next tick goes on */
};

extern const struct engine_events idle_events;

int idle_prepare(struct idle *idle, struct engine *engine, uint32_t slots);
/* Runs until *stop; 0. -1 with errno when the engine failed, with errno 0 when the population was not complete in time. */
int idle_run(struct idle *idle, const volatile sig_atomic_t *stop);
void idle_close(struct idle *idle);
/* Members that intervals and the summary share. */
void idle_write(const struct idle *idle, struct json *json);

#endif
