/*
 * Which emulated host and port the next connection comes from: hosts take turns, and a port comes back only after all others of
 * its host. With a /18 that is a thousand million connections.
 */
#ifndef ADDRESS_PAIRS_H
#define ADDRESS_PAIRS_H

#include "clock.h"
#include "engine.h"

enum {
    PAIRS_FIRST_PORT = 1024,
    PAIRS_PORTS = 65536 - PAIRS_FIRST_PORT,
    PAIRS_TICK_NS = 8000,
};

/* Where a former process left off if it made up to 125,000 connections/s: a server's TIME_WAIT and dying connections are not
   met again. */
static inline uint64_t pairs_begin(void)
{
    return clock_now_ns() / PAIRS_TICK_NS;
}

static inline void pairs_next(uint64_t *next, const struct engine_settings *settings, uint32_t *host, uint16_t *port)
{
    uint64_t pair = (*next)++;
    *host = settings->first_host + (uint32_t)(pair % settings->host_count);
    *port = (uint16_t)(PAIRS_FIRST_PORT + pair / settings->host_count % PAIRS_PORTS);
}

#endif
