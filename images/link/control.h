/*
 * How a running linkem is asked: a datagram socket with an abstract name, which exists in the network namespace of the
 * link only and vanishes with the process. A question is one datagram: linkem never waits for an asker, who may not get
 * a CPU for long while packets are due. Only the same user and root are answered.
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

/* The socket that questions come to, or -1 with errno set (EADDRINUSE: another linkem has the queue). */
int control_listen(uint16_t queue);

/* Takes one question. Returns a descriptor that the answer is written to, in one piece, or -1 if there was none. */
int control_accept(int listener, struct request *request);

/* Asks the linkem of a queue; its answer goes to stdout. Returns 0, or -1 with errno set. */
int control_ask(uint16_t queue, const struct request *request);

#endif
