#include "think.h"

#include <stdlib.h>

void think_push(struct think_heap *heap, struct think item)
{
    if (heap->count == heap->room) {
        heap->room = heap->room ? 2 * heap->room : 1024;
        heap->items = realloc(heap->items, heap->room * sizeof *heap->items);
        if (!heap->items)
            abort(); /* 16 bytes a session: the machine is out of memory */
    }
    uint32_t at = heap->count++;
    for (uint32_t parent; at && heap->items[parent = (at - 1) / 2].at_ns > item.at_ns; at = parent)
        heap->items[at] = heap->items[parent];
    heap->items[at] = item;
}

struct think think_pop(struct think_heap *heap)
{
    struct think first = heap->items[0], moved = heap->items[--heap->count];
    uint32_t at = 0;
    for (uint32_t child; (child = 2 * at + 1) < heap->count; at = child) {
        if (child + 1 < heap->count && heap->items[child + 1].at_ns < heap->items[child].at_ns)
            child++;
        if (heap->items[child].at_ns >= moved.at_ns)
            break;
        heap->items[at] = heap->items[child];
    }
    heap->items[at] = moved;
    return first;
}

void think_close(struct think_heap *heap)
{
    free(heap->items);
    *heap = (struct think_heap){0};
}
