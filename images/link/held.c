#include "held.h"

#include <stdlib.h>

static bool before(const struct held_packet *a, const struct held_packet *b)
{
    return a->release_ns < b->release_ns || (a->release_ns == b->release_ns && a->order < b->order);
}

int held_add(struct held *held, struct held_packet packet)
{
    if (held->count == held->room) {
        size_t room = held->room ? held->room * 2 : 1024;
        struct held_packet *packets = realloc(held->packets, room * sizeof *packets);
        if (!packets)
            return -1;
        held->packets = packets;
        held->room = room;
    }
    packet.order = held->added++;
    size_t place = held->count++;
    while (place > 0 && before(&packet, &held->packets[(place - 1) / 2])) {
        held->packets[place] = held->packets[(place - 1) / 2];
        place = (place - 1) / 2;
    }
    held->packets[place] = packet;
    return 0;
}

uint64_t held_next_ns(const struct held *held)
{
    return held->count ? held->packets[0].release_ns : UINT64_MAX;
}

struct held_packet held_take(struct held *held)
{
    struct held_packet first = held->packets[0];
    struct held_packet last = held->packets[--held->count];
    size_t place = 0;
    for (;;) {
        size_t child = 2 * place + 1;
        if (child >= held->count)
            break;
        if (child + 1 < held->count && before(&held->packets[child + 1], &held->packets[child]))
            child++;
        if (!before(&held->packets[child], &last))
            break;
        held->packets[place] = held->packets[child];
        place = child;
    }
    if (held->count)
        held->packets[place] = last;
    return first;
}

void held_free(struct held *held)
{
    while (held->count)
        free(held->packets[--held->count].payload);
    free(held->packets);
    *held = (struct held){0};
}
