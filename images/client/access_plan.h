/*
 * A distribution over access links, read from a file: one line for each kind of link.
 *
 *     # share of the hosts, then the words of each direction (seen from the host)
 *     0.6 down delay 18.5ms rate 5660000 limit 117 up delay 18.5ms rate 820000 limit 17
 *     0.3 down delay 35ms jitter 5ms distribution normal up delay 35ms
 *     0.1
 *
 * Shares are weights: each line gets its part of the hosts, to within one host. A direction without words is unshaped.
 */
#ifndef CLIENT_ACCESS_PLAN_H
#define CLIENT_ACCESS_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shape.h"

enum { LINK_DOWN, LINK_UP, LINK_DIRECTIONS };
extern const char *const link_direction_names[LINK_DIRECTIONS];

struct access_kind {
    double share;
    struct shape shapes[LINK_DIRECTIONS];
};

struct access_plan {
    struct access_kind *kinds;
    uint32_t count;
};

/* Reads a text, which is changed on the way. False: one line in `problem` that begins with the number of the bad line. */
bool access_plan_parse(struct access_plan *plan, char *text, size_t length, char *problem, size_t room);
/* The same from a file; a fault ends the program with one line naming file and line, status 2. */
void access_plan_read(struct access_plan *plan, const char *path);
void access_plan_free(struct access_plan *plan);

/* The whole of the hosts, with links that do nothing. */
struct access_kind access_unshaped(void);

/* Which kind each of `hosts` hosts has: as many of each as its share says, in an order that hangs on the seed alone.
   NULL without memory; the caller frees it. */
uint32_t *access_plan_assign(const struct access_plan *plan, uint32_t hosts, uint64_t seed);

#endif
