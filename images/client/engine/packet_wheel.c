#include "engine/packet_wheel.h"

#include <string.h>

#include "clock.h"

void wheel_start(struct wheel *wheel, struct wheel_timer *timers, uint64_t now_ns)
{
    wheel->timers = timers;
    wheel->current = now_ns / NS_PER_MS;
    memset(wheel->occupied, 0, sizeof wheel->occupied);
    for (uint32_t i = 0; i < WHEEL_SLOTS; i++)
        wheel->heads[i] = WHEEL_NONE;
}

static void unlink_timer(struct wheel *wheel, uint32_t timer)
{
    struct wheel_timer *self = &wheel->timers[timer];
    uint32_t slot = self->tick % WHEEL_SLOTS;
    if (self->previous == WHEEL_NONE)
        wheel->heads[slot] = self->next;
    else
        wheel->timers[self->previous].next = self->next;
    if (self->next != WHEEL_NONE)
        wheel->timers[self->next].previous = self->previous;
    if (wheel->heads[slot] == WHEEL_NONE)
        wheel->occupied[slot / 64] &= ~(1ull << slot % 64);
    self->tick = 0;
}

void wheel_set(struct wheel *wheel, uint32_t timer, uint64_t deadline_ns)
{
    struct wheel_timer *self = &wheel->timers[timer];
    uint64_t tick = (deadline_ns + NS_PER_MS - 1) / NS_PER_MS;
    if (tick <= wheel->current)
        tick = wheel->current + 1;
    if (tick >= wheel->current + WHEEL_SLOTS)
        tick = wheel->current + WHEEL_SLOTS - 1;
    if (self->tick && self->tick <= tick)
        return;
    if (self->tick)
        unlink_timer(wheel, timer);
    uint32_t slot = tick % WHEEL_SLOTS;
    self->tick = tick;
    self->previous = WHEEL_NONE;
    self->next = wheel->heads[slot];
    if (self->next != WHEEL_NONE)
        wheel->timers[self->next].previous = timer;
    wheel->heads[slot] = timer;
    wheel->occupied[slot / 64] |= 1ull << slot % 64;
}

/* The first occupied slot at or after `from`, as a tick; 0 when none is occupied. */
static uint64_t next_occupied(const struct wheel *wheel, uint64_t from)
{
    /* When `from` is inside a word, the last step reads that word again: its lower bits are the slots furthest ahead. */
    for (uint64_t tick = from; tick < from + WHEEL_SLOTS;) {
        uint32_t slot = tick % WHEEL_SLOTS;
        uint64_t rest = wheel->occupied[slot / 64] >> slot % 64;
        if (rest)
            return tick + (uint64_t)__builtin_ctzll(rest);
        tick += 64 - slot % 64;
    }
    return 0;
}

uint32_t wheel_pop(struct wheel *wheel, uint64_t now_ns)
{
    uint64_t now = now_ns / NS_PER_MS;
    while (wheel->current < now) {
        uint32_t timer = wheel->heads[(wheel->current + 1) % WHEEL_SLOTS];
        if (timer != WHEEL_NONE) {
            unlink_timer(wheel, timer);
            return timer;
        }
        uint64_t next = next_occupied(wheel, wheel->current + 1);
        wheel->current = next == 0 || next > now ? now : next - 1;
    }
    return WHEEL_NONE;
}

uint64_t wheel_next_ns(const struct wheel *wheel)
{
    uint64_t next = next_occupied(wheel, wheel->current + 1);
    return next ? next * NS_PER_MS : UINT64_MAX;
}
