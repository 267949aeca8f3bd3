/* What a probe carries: who sent it when, and a check sum of its own, so that a flipped bit is seen and counted. */
#ifndef LINK_PROBE_PACKET_H
#define LINK_PROBE_PACKET_H

#include <stddef.h>
#include <stdint.h>

#define PROBE_MAGIC 0x74626c70u
#define PROBE_WARM_UP UINT32_MAX /* sequence of packets that only fill neighbour tables and caches */

struct probe_packet {
    uint32_t magic;
    uint32_t train; /* which measurement: a late packet of an earlier one is not counted */
    uint32_t sequence;
    uint32_t sum; /* of everything else, to the end of the payload */
    uint64_t sent_ns;
};

/* FNV-1a over the whole payload, its field `sum` left out. */
static inline uint32_t probe_sum(const unsigned char *payload, size_t length)
{
    uint32_t sum = 2166136261u;
    for (size_t i = 0; i < length; i++)
        if (i < offsetof(struct probe_packet, sum) || i >= offsetof(struct probe_packet, sent_ns))
            sum = (sum ^ payload[i]) * 16777619u;
    return sum;
}

#endif
