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
};

struct packet_frame {
    const uint8_t *bytes;
    size_t length;
    bool checksum_known;
};

/* Receives IPv4 frames for hosts first … first + count - 1 (host order) that arrive at the interface. -1 with errno. */
int ring_open(struct packet_ring *ring, int interface, uint32_t first, uint32_t count, uint32_t frames, uint32_t frame_bytes);

/* The oldest frame, valid until ring_release(), which must follow. False when there is none. */
bool ring_next(struct packet_ring *ring, struct packet_frame *frame);
void ring_release(struct packet_ring *ring);

/* Adds what the kernel dropped since the last call to ring->drops. */
void ring_count_drops(struct packet_ring *ring);
void ring_close(struct packet_ring *ring);

#endif
