/*
 * Frames by the time at which each may go on: a calendar of slots 66 µs wide that reaches a second ahead. Adding and taking
 * cost the same however many wait. In a slot frames keep the order in which they came, so frames of one link never overtake
 * each other unless their times say so; a time is met to within half a slot, as often early as late.
 */
#ifndef PACKET_CALENDAR_H
#define PACKET_CALENDAR_H

#include <stdint.h>

enum { CALENDAR_SHIFT = 16, CALENDAR_SLOTS = 1 << 14 };

/* The head of whatever is held. */
struct held_node {
    struct held_node *next;
    uint64_t release_ns;
};

struct calendar {
    uint64_t current; /* the slot up to which everything was taken */
    struct held_node *heads[CALENDAR_SLOTS], *tails[CALENDAR_SLOTS];
    uint64_t occupied[CALENDAR_SLOTS / 64];
};

void calendar_start(struct calendar *calendar, uint64_t now_ns);
void calendar_add(struct calendar *calendar, struct held_node *node);
/* The first that is due, or NULL. UINT64_MAX as the time takes them all, one after the other. */
struct held_node *calendar_take(struct calendar *calendar, uint64_t now_ns);
/* A time not later than that of the first; UINT64_MAX when none waits. */
uint64_t calendar_next_ns(const struct calendar *calendar);

#endif
