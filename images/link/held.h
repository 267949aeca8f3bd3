/* Packets that the kernel holds for us, by the time at which each may go on: a binary heap, first come first out
 * among equals. */
#ifndef LINK_HELD_H
#define LINK_HELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct held_packet {
    uint64_t release_ns;
    uint64_t order; /* filled in by held_add */
    uint32_t id;
    uint32_t length;        /* of `payload` */
    unsigned char *payload; /* what the packet becomes (owned), or NULL: as it was */
    bool again;             /* a copy to be sent beside the packet itself; `id` means nothing */
};

struct held {
    struct held_packet *packets;
    size_t count, room;
    uint64_t added;
};

/* Returns 0, or -1 without memory (the packet is then not in it, and its payload still the caller's). */
int held_add(struct held *held, struct held_packet packet);

/* When the first may go on; UINT64_MAX if there is none. */
uint64_t held_next_ns(const struct held *held);

/* Takes the first. Only if count > 0. The payload becomes the caller's. */
struct held_packet held_take(struct held *held);

void held_free(struct held *held);

#endif
