/*
 * The listening sockets: the accept phase, and when they leave the interest set.
 *
 * They are parked together when no connection may be added: at the limit, until one closes; and when accept() itself
 * runs out of descriptors or memory, until one closes or RETRY has passed, so a shortage is never spun on and never final.
 */
#ifndef USERVER_LISTENER_H
#define USERVER_LISTENER_H

#include <stdint.h>

#include "settings.h"

/* Opens, binds and listens. Returns 0, or -1 with what went wrong in listeners_error(). */
int listeners_open(const struct settings *settings);
const char *listeners_error(void);
unsigned listeners_port(void);

/* Enters the interest set; the connection table must be there. 0, or -1 with errno. */
int listeners_start(const struct mechanism *mechanism, uint64_t max_connections);

/* Before each wait: brings parked listeners back if there is room. Returns the timeout for the wait, in ms, -1 for none. */
int listeners_before_wait(void);

/* After each wait, before any other event is looked at. Returns the number of events that were for listeners. */
int listeners_accept_phase(const struct event *events, int count);

#endif
