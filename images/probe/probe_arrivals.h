/* What a receiver of probes keeps and prints, whichever way the probes reach it: a socket, or the packet engine's ring. */
#ifndef PROBE_ARRIVALS_H
#define PROBE_ARRIVALS_H

#include <stddef.h>
#include <stdint.h>

#define PROBE_MOST_BYTES 1472
#define PROBE_WARM_UPS 3 /* packets before a train, not counted */

struct arrival {
    uint32_t sequence;
    uint64_t sent_ns, arrived_ns;
};

struct arrivals {
    struct arrival *list;
    uint32_t train;
    size_t size; /* of a payload */
    uint64_t count, room;
    uint64_t corrupted; /* their own check sum failed */
    uint64_t foreign;   /* of another train or size */
    uint64_t beyond;    /* no room in the list */
    uint64_t dropped;   /* the receiver's own fault */
};

/* 0, or -1 without memory for `most` arrivals. */
int arrivals_open(struct arrivals *arrivals, uint32_t train, size_t size, uint64_t most);
void arrivals_close(struct arrivals *arrivals);

/* Takes in a payload that came at now_ns. */
void arrivals_note(struct arrivals *arrivals, const unsigned char *payload, size_t length, uint64_t now_ns);

/* The `summary` line. */
void arrivals_write(const struct arrivals *arrivals, int descriptor);

/* Makes a probe's payload. */
void probe_fill(unsigned char *payload, size_t size, uint32_t train, uint32_t sequence, uint64_t sent_ns);

#endif
