/*
 * Timers: one a connection, in a wheel of milliseconds.
 *
 * A timer is lazy: it may go off earlier than wanted (its owner looks at its own deadlines and sets it again), never later than
 * about a millisecond after. So a deadline that moves away, the usual case, costs nothing.
 */
#ifndef PACKET_WHEEL_H
#define PACKET_WHEEL_H

#include <stdint.h>

#define WHEEL_NONE UINT32_MAX
enum { WHEEL_SLOTS = 8192 }; /* 8 s ahead; what is later waits in the furthest slot and is set again from there */

struct wheel_timer {
    uint32_t next, previous; /* in the list of its slot */
    uint64_t tick;           /* when it goes off; 0: not set */
};

struct wheel {
    struct wheel_timer *timers; /* the caller's, one a connection */
    uint64_t current;           /* the tick up to which everything went off */
    uint32_t heads[WHEEL_SLOTS];
    uint64_t occupied[WHEEL_SLOTS / 64];
};

void wheel_start(struct wheel *wheel, struct wheel_timer *timers, uint64_t now_ns);
/* Makes the timer go off at deadline_ns or earlier. */
void wheel_set(struct wheel *wheel, uint32_t timer, uint64_t deadline_ns);
/* Takes out a timer that is due, or returns WHEEL_NONE. */
uint32_t wheel_pop(struct wheel *wheel, uint64_t now_ns);
/* A time not later than the first timer; UINT64_MAX when none is set. */
uint64_t wheel_next_ns(const struct wheel *wheel);

#endif
