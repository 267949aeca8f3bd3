/* Streams of seeded random numbers, one for each effect of a link, so that a packet's fate in one effect depends on
 * its number and the seed only, whatever other effects are on. splitmix64: repeatable, not for secrets. */
#ifndef SHAPE_STREAM_H
#define SHAPE_STREAM_H

#include <stdint.h>

struct stream {
    uint64_t state;
};

static inline uint64_t stream_next(struct stream *stream)
{
    uint64_t mixed = (stream->state += 0x9e3779b97f4a7c15ull);
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ull;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebull;
    return mixed ^ (mixed >> 31);
}

/* The number-th stream of a seed. */
static inline struct stream stream_of(uint64_t seed, uint64_t number)
{
    struct stream seeder = {.state = seed ^ (number * 0xd6e8feb86659fd93ull)};
    return (struct stream){.state = stream_next(&seeder)};
}

/* As if a number had been drawn. */
static inline void stream_skip(struct stream *stream)
{
    stream->state += 0x9e3779b97f4a7c15ull;
}

/* Uniform in (0, 1), both ends excluded: safe for logarithms and quantiles. */
static inline double stream_unit(struct stream *stream)
{
    return ((double)(stream_next(stream) >> 11) + 0.5) * 0x1p-53;
}

#endif
