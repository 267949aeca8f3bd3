#include "engine/packet_calendar.h"

#include <stddef.h>
#include <string.h>

enum { WORDS = CALENDAR_SLOTS / 64 };

#define HALF_SLOT_NS (1ull << (CALENDAR_SHIFT - 1))

void calendar_start(struct calendar *calendar, uint64_t now_ns)
{
    memset(calendar, 0, sizeof *calendar);
    calendar->current = now_ns >> CALENDAR_SHIFT;
}

void calendar_add(struct calendar *calendar, struct held_node *node)
{
    uint64_t tick = (node->release_ns + HALF_SLOT_NS) >> CALENDAR_SHIFT;
    if (tick <= calendar->current)
        tick = calendar->current + 1;
    if (tick >= calendar->current + CALENDAR_SLOTS) /* it will be added again from there */
        tick = calendar->current + CALENDAR_SLOTS - 1;
    uint32_t slot = tick % CALENDAR_SLOTS;
    node->next = NULL;
    if (calendar->heads[slot])
        calendar->tails[slot]->next = node;
    else
        calendar->heads[slot] = node;
    calendar->tails[slot] = node;
    calendar->occupied[slot / 64] |= 1ull << slot % 64;
}

/* The first occupied slot after the current one, as a tick; 0 when none is. */
static uint64_t next_occupied(const struct calendar *calendar)
{
    uint64_t from = calendar->current + 1;
    for (uint64_t tick = from; tick < from + CALENDAR_SLOTS;) {
        uint32_t slot = tick % CALENDAR_SLOTS;
        uint64_t rest = calendar->occupied[slot / 64] >> slot % 64;
        if (rest)
            return tick + (uint64_t)__builtin_ctzll(rest);
        tick += 64 - slot % 64;
    }
    return 0;
}

static struct held_node *pop(struct calendar *calendar, uint32_t slot)
{
    struct held_node *node = calendar->heads[slot];
    if (!node)
        return NULL;
    calendar->heads[slot] = node->next;
    if (!node->next)
        calendar->occupied[slot / 64] &= ~(1ull << slot % 64);
    return node;
}

struct held_node *calendar_take(struct calendar *calendar, uint64_t now_ns)
{
    uint64_t now = now_ns >> CALENDAR_SHIFT;
    for (;;) {
        struct held_node *node = pop(calendar, calendar->current % CALENDAR_SLOTS);
        if (node) {
            if ((node->release_ns + HALF_SLOT_NS) >> CALENDAR_SHIFT <= calendar->current || now_ns == UINT64_MAX)
                return node;
            calendar_add(calendar, node);
            continue;
        }
        if (calendar->current >= now)
            return NULL;
        uint64_t next = next_occupied(calendar);
        if (next == 0 && now_ns == UINT64_MAX)
            return NULL;
        calendar->current = next == 0 || next > now ? now : next;
    }
}

uint64_t calendar_next_ns(const struct calendar *calendar)
{
    uint64_t next = next_occupied(calendar);
    return next ? next << CALENDAR_SHIFT : UINT64_MAX;
}
