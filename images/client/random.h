/* A small seeded generator (splitmix64): the same seed gives the same load on every machine. Not for secrets. */
#ifndef CLIENT_RANDOM_H
#define CLIENT_RANDOM_H

#include <stdint.h>

struct random_state {
    uint64_t state;
};

static inline uint64_t random_next(struct random_state *random)
{
    uint64_t mixed = (random->state += 0x9e3779b97f4a7c15ull);
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ull;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebull;
    return mixed ^ (mixed >> 31);
}

/* Uniform in [0, 1). */
static inline double random_unit(struct random_state *random)
{
    return (double)(random_next(random) >> 11) * 0x1p-53;
}

#endif
