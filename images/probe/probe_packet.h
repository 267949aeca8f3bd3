/* What a probe carries: who sent it when, and a check sum of its own, so that a flipped bit is seen and counted. */
#ifndef PROBE_PACKET_H
#define PROBE_PACKET_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PROBE_MAGIC 0x74626c70u
#define PROBE_WARM_UP UINT32_MAX /* sequence of packets that only fill neighbour tables and caches */

struct probe_packet {
    uint32_t magic;
    uint32_t train; /* which measurement: a late packet of an earlier one is not counted */
    uint32_t sequence;
    uint32_t sum; /* of everything else, to the end of the payload */
    uint64_t sent_ns;
};

/* Over the whole payload, its field `sum` taken as zero. Words of
 * eight bytes, each mixed by a multiplication with an odd number, so that any flipped bit changes the sum. */
static inline uint32_t probe_sum(const unsigned char *payload, size_t length)
{
    uint64_t sum = length;
    for (size_t i = 0; i < length; i += sizeof(uint64_t)) {
        uint64_t word = 0;
        memcpy(&word, payload + i, length - i < sizeof word ? length - i : sizeof word);
        if (i == (offsetof(struct probe_packet, sum) & ~(sizeof word - 1)))
            memset((unsigned char *)&word + offsetof(struct probe_packet, sum) % sizeof word, 0, sizeof(uint32_t));
        sum = (sum ^ word) * 0x9e3779b97f4a7c15ull;
        sum ^= sum >> 29;
    }
    return (uint32_t)(sum ^ (sum >> 32));
}

#endif
