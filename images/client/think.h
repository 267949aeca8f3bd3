/* Sessions that wait for the end of a think time: a binary heap, earliest first. */
#ifndef CLIENT_THINK_H
#define CLIENT_THINK_H

#include <stdint.h>

struct think {
    uint64_t at_ns;
    uint32_t connection, generation;
};

struct think_heap {
    struct think *items;
    uint32_t count, room;
};

void think_push(struct think_heap *heap, struct think item);
/* The earliest; the heap must not be empty. */
struct think think_pop(struct think_heap *heap);
void think_close(struct think_heap *heap);

static inline uint64_t think_next_ns(const struct think_heap *heap)
{
    return heap->count ? heap->items[0].at_ns : UINT64_MAX;
}

#endif
