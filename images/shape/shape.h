/*
 * What a link does to a packet, decided when it arrives: no clock, no input and no output of its own, so that the
 * same seed and the same arrivals give the same fates anywhere: in linkem, and inside the packet engine.
 *
 * A packet first may be lost, then waits its turn for the rate (at most `limit` wait), then travels: delay plus a
 * draw of jitter. With a rate nothing overtakes, except what `reorder` lets through at once.
 */
#ifndef SHAPE_SHAPE_H
#define SHAPE_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stream.h"

enum distribution { DISTRIBUTION_UNIFORM, DISTRIBUTION_NORMAL, DISTRIBUTION_PARETO };
extern const char *const distribution_names[]; /* in the order of the enumeration, ends with NULL */

/* Shares are 0 … 1. Plain data: it is also what travels to a running emulator that is to change. */
struct shape {
    uint64_t delay_ns;
    uint64_t jitter_ns; /* at most delay_ns; a draw may be up to four of it, and nothing arrives before it was sent */
    enum distribution distribution;
    double correlation;
    double loss;
    bool bursts; /* Gilbert-Elliott instead of `loss` */
    double to_bad, to_good, bad_loss, good_loss;
    double duplicate;
    double reorder;
    double corrupt;
    uint64_t rate_bps;    /* 0: none; counted with ETHERNET_HEADER bytes a packet */
    uint64_t burst_bytes; /* 0: every packet is spaced */
    uint64_t limit;       /* packets that may wait for the rate */
    uint64_t seed;
};

#define ETHERNET_HEADER 14

struct fate {
    bool lost;       /* by chance; nothing else is decided then */
    bool overflowed; /* the queue of the rate was full */
    bool duplicated;
    bool corrupted;
    uint64_t release_ns;  /* when it may go on */
    uint64_t flipped_bit; /* for a corrupted packet: which bit, modulo its length */
};

enum { STREAM_LOSS, STREAM_STATE, STREAM_DUPLICATE, STREAM_REORDER, STREAM_CORRUPT, STREAM_BIT, STREAM_JITTER, STREAMS };

/* One link's state, small because there can be a hundred thousand. Set up by link_init, released by link_free. */
struct link {
    const struct shape *shape; /* the caller's, and the same one may serve many links */
    uint64_t seed;
    struct stream streams[STREAMS];
    double last_normal;      /* of the correlated draws */
    uint64_t free_at_ns;     /* when the rate has sent all that waits */
    uint64_t last_release_ns;
    uint64_t *leaving_ns;    /* ring, grown as it is needed: when each waiting packet has been sent */
    uint32_t head, waiting, room;
    bool bad;                /* Gilbert-Elliott's state */
};

/* `seed` stands in for the shape's own: links that share a shape must not lose in step. */
void link_init(struct link *link, const struct shape *shape, uint64_t seed);

/* Takes the new numbers; what waits keeps its time. A new seed starts all streams anew. */
void link_change(struct link *link, const struct shape *shape, uint64_t seed);
void link_free(struct link *link);

/* Whether it does anything at all to a packet. */
bool shape_touches(const struct shape *shape);

/* The fate of a packet of `length` bytes (from its IP header on) that arrives now. */
struct fate link_packet(struct link *link, uint64_t now_ns, size_t length);

/* A draw in units of jitter, from a uniform number in (0, 1). */
double distribution_quantile(enum distribution distribution, double unit);

#endif
