/*
 * Receiving: a ring of frames shared with the kernel (TPACKET_V2).
 *
 * Version 2 and not 3: a frame is visible the moment it arrives, while blocks of version 3 are handed over when full or after
 * milliseconds. A frame larger than a slot comes whole through recv() instead (PACKET_COPY_THRESH), which is what segments of
 * up to 64 KiB use.
 */
#ifndef PACKET_RING_H
#define PACKET_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct packet_ring {
    int descriptor;
    uint8_t *map;
    size_t map_bytes;
    uint32_t frame_bytes, frames_per_block, block_bytes, frames;
    uint32_t next;
    uint8_t *large; /* a frame that did not fit a slot */
    uint64_t drops; /* frames lost because ring or socket buffer was full */
    uint64_t received;
    uint64_t asked_ns, earliest_ns;           /* of ring_arrival_ns(): its last now, and what is there came later than */
    uint64_t wall_ahead_ns, wall_compared_ns; /* CLOCK_REALTIME before CLOCK_MONOTONIC, and when that was seen */
};

struct packet_frame {
    const uint8_t *bytes;
    size_t length;
    bool checksum_known;
    uint64_t stamp_ns; /* the kernel's, as it came: of CLOCK_REALTIME, which is all that it gives */
};

/* Receives IPv4 frames for hosts first … first + count - 1 (host order) that arrive at the interface. -1 with errno. */
int ring_open(struct packet_ring *ring, int interface, uint32_t first, uint32_t count, uint32_t frames, uint32_t frame_bytes);

/* The oldest frame, valid until ring_release(), which must follow. False when there is none. */
bool ring_next(struct packet_ring *ring, struct packet_frame *frame);
void ring_release(struct packet_ring *ring);

/* When a frame that is in the ring came, however long it lay there: never after now_ns, and whatever steps the wall clock makes
 * never before the ring was last found empty. */
uint64_t ring_arrival_ns(struct packet_ring *ring, const struct packet_frame *frame, uint64_t now_ns);

/* Adds what the kernel dropped since the last call to ring->drops. */
void ring_count_drops(struct packet_ring *ring);
void ring_close(struct packet_ring *ring);

#endif
