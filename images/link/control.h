/*
 * How a running linkem is asked: a seqpacket socket with an abstract name, which exists in the network namespace of
 * the link only and vanishes with the process. Only the same user and root are answered.
 */
#ifndef LINK_CONTROL_H
#define LINK_CONTROL_H

#include <stdint.h>

#include "shape.h"

enum request_kind { REQUEST_SHOW = 1, REQUEST_CHANGE, REQUEST_STOP };

struct request {
    uint32_t size; /* of this struct: another build is not believed */
    enum request_kind kind;
    struct shape shape; /* for REQUEST_CHANGE */
};

/* A listening socket, or -1 with errno set (EADDRINUSE: another linkem has the queue). */
int control_listen(uint16_t queue);

/* Accepts one request. Returns a connected descriptor that the answer is written to, or -1 if there was none. */
int control_accept(int listener, struct request *request);

/* Asks the linkem of a queue; its answer goes to stdout. Returns 0, or -1 with errno set. */
int control_ask(uint16_t queue, const struct request *request);

#endif
