/*
 * A mechanism of somebody's own, in one file: poll(2), but a single event a wait, the descriptors taking turns. It
 * shows that nothing else has to be edited, and that the server does not depend on how many events come at once.
 */
#include <poll.h>
#include <stdlib.h>

#include "accounting.h"
#include "mechanism.h"

static struct {
    struct pollfd *entries; /* by descriptor; an unused one has fd -1 */
    uint32_t *generations;
    unsigned count, turn;
} set;

static struct call_counter call_poll = WAIT_COUNTER("one_event_poll");

static int one_open(unsigned descriptors)
{
    set.count = descriptors;
    set.entries = calloc(descriptors, sizeof *set.entries);
    set.generations = calloc(descriptors, sizeof *set.generations);
    for (unsigned i = 0; set.entries && i < descriptors; i++)
        set.entries[i].fd = -1;
    return set.entries && set.generations ? 0 : -1;
}

static int one_mod(struct identity who, unsigned interest)
{
    short wanted = (short)((interest & EVENT_READ ? POLLIN : 0) | (interest & EVENT_WRITE ? POLLOUT : 0));
    set.entries[who.descriptor] = (struct pollfd){.fd = who.descriptor, .events = wanted};
    return 0;
}

static int one_add(struct identity who, unsigned interest)
{
    set.generations[who.descriptor] = who.generation;
    return one_mod(who, interest);
}

static int one_del(struct identity who)
{
    set.entries[who.descriptor].fd = -1;
    return 0;
}

static int one_wait(struct event *events, int room, int timeout_ms)
{
    (void)room;
    long ready = COUNTED(&call_poll, poll(set.entries, set.count, timeout_ms));
    if (ready <= 0)
        return (int)ready;
    do
        set.turn = (set.turn + 1) % set.count;
    while (set.entries[set.turn].fd < 0 || !set.entries[set.turn].revents);
    short got = set.entries[set.turn].revents;
    unsigned ready_bits = (got & POLLIN ? EVENT_READ : 0) | (got & POLLOUT ? EVENT_WRITE : 0);
    if (got & (POLLERR | POLLHUP))
        ready_bits = EVENT_READ | EVENT_WRITE | EVENT_HANGUP;
    events[0] = (struct event){.who = {(int)set.turn, set.generations[set.turn]}, .ready = ready_bits};
    return 1;
}

static void one_close(void)
{
    free(set.entries);
    free(set.generations);
}

static const struct mechanism one_event_mechanism = {
    .name = "one-event",
    .summary = "poll(2), one event a wait",
    .open = one_open,
    .add = one_add,
    .mod = one_mod,
    .del = one_del,
    .wait = one_wait,
    .close = one_close,
};
MECHANISM_REGISTER(one_event_mechanism)
