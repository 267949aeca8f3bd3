/*
 * The connections: a table by descriptor, and the state machine that every mechanism drives alike.
 *
 *     READING ──request──▶ WRITING ──reply out──▶ READING (keep-alive) or closed
 *        └──fault──▶ WRITING ──▶ DRAINING ──end of stream──▶ closed
 *
 * DRAINING: the reply to a request that could not be understood is out and our side is shut down, but what the peer
 * still sends is read and thrown away; closing with unread bytes would reset the connection under the reply.
 */
#ifndef USERVER_CONNECTION_H
#define USERVER_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "mechanism.h"
#include "reply.h"

enum connection_state {
    CONNECTION_FREE, /* zero: a fresh table is all free */
    CONNECTION_LISTENER,
    CONNECTION_READING,
    CONNECTION_WRITING,
    CONNECTION_DRAINING,
};

struct connection {
    uint32_t generation; /* of the present or next owner of the descriptor */
    uint8_t state;
    uint8_t interest;         /* what the mechanism was last told */
    uint8_t ready;            /* EVENT_… bits that still hold; kept only for edge-triggered mechanisms */
    bool started : 1;         /* some of the reply was handed to the kernel, TCP_CORK is on */
    bool close_after : 1;     /* the reply */
    bool drain_after : 1;     /* the reply answers a fault */
    bool peer_finished : 1;   /* completion: the end of stream came while a reply was going out */
    bool held : 1;            /* completion: hold() was called, because too much is pending */
    uint32_t drained;         /* bytes thrown away while DRAINING */
    uint32_t pending_length;  /* received, but not yet part of a parsed request */
    char *pending;            /* owned */
    struct reply reply;       /* what is left of it */
    struct iovec parts[2];    /* completion: must stay valid while the kernel sends */
};

/* Room for descriptors below `descriptors`. 0, or -1 with errno. The mechanism must be open. */
int connections_open(const struct mechanism *mechanism, unsigned descriptors);
void connections_close(void);

/* The entry of a descriptor, or NULL if it is beyond the table. */
struct connection *connection_at(int descriptor);
struct identity connection_identity(const struct connection *connection);

/* Takes over an accepted, non-blocking descriptor: registers it, or closes it and returns -1. */
int connection_start(int descriptor);

/* Takes over a listening descriptor's entry, and gives it back. No mechanism calls. */
void connection_mark_listener(int descriptor, bool listening);

/* Handles one event of a connection. False if it told nothing that the connection waits for. */
bool connection_event(const struct event *event);

#endif
