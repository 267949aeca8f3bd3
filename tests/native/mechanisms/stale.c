/*
 * The worst that an event mechanism may do: as soon as a descriptor number is registered again, its former owner's
 * identity is reported once more as readable, writable and failed, before anything true. If any such event reached the new
 * connection, the server would read from it without cause (EAGAIN) or act on a hangup that never was.
 */
#include <poll.h>
#include <stdlib.h>

#include "accounting.h"
#include "mechanism.h"

static struct {
    struct pollfd *entries; /* by descriptor; an unused one has fd -1 */
    uint32_t *generations;
    struct identity *stale;
    unsigned count;
    int stale_count;
} set;

static struct call_counter call_poll = WAIT_COUNTER("poll");

static int stale_open(unsigned descriptors)
{
    set.count = descriptors;
    set.entries = calloc(descriptors, sizeof *set.entries);
    set.generations = calloc(descriptors, sizeof *set.generations);
    set.stale = calloc(descriptors, sizeof *set.stale);
    for (unsigned i = 0; set.entries && i < descriptors; i++)
        set.entries[i].fd = -1;
    return set.entries && set.generations && set.stale ? 0 : -1;
}

static int stale_mod(struct identity who, unsigned interest)
{
    short wanted = (short)((interest & EVENT_READ ? POLLIN : 0) | (interest & EVENT_WRITE ? POLLOUT : 0));
    set.entries[who.descriptor] = (struct pollfd){.fd = who.descriptor, .events = wanted};
    return 0;
}

static int stale_add(struct identity who, unsigned interest)
{
    uint32_t former = set.generations[who.descriptor];
    if (former && set.stale_count < (int)set.count)
        set.stale[set.stale_count++] = (struct identity){who.descriptor, former};
    set.generations[who.descriptor] = who.generation;
    return stale_mod(who, interest);
}

static int stale_del(struct identity who)
{
    set.entries[who.descriptor].fd = -1;
    return 0;
}

static int stale_wait(struct event *events, int room, int timeout_ms)
{
    int count = 0;
    while (set.stale_count > 0 && count < room)
        events[count++] = (struct event){.who = set.stale[--set.stale_count], .ready = EVENT_READ | EVENT_WRITE | EVENT_HANGUP};
    if (COUNTED(&call_poll, poll(set.entries, set.count, count ? 0 : timeout_ms)) < 0)
        return count ? count : -1;
    for (unsigned i = 0; i < set.count && count < room; i++) {
        short got = set.entries[i].fd < 0 ? 0 : set.entries[i].revents;
        unsigned ready = (got & POLLIN ? EVENT_READ : 0) | (got & POLLOUT ? EVENT_WRITE : 0);
        if (got & (POLLERR | POLLHUP))
            ready = EVENT_READ | EVENT_WRITE | EVENT_HANGUP;
        if (ready)
            events[count++] = (struct event){.who = {(int)i, set.generations[i]}, .ready = ready};
    }
    return count;
}

static void stale_close(void)
{
    free(set.entries);
    free(set.generations);
    free(set.stale);
}

static const struct mechanism stale_mechanism = {
    .name = "stale",
    .summary = "poll(2) that repeats the events of former owners of a descriptor",
    .open = stale_open,
    .add = stale_add,
    .mod = stale_mod,
    .del = stale_del,
    .wait = stale_wait,
    .close = stale_close,
};
MECHANISM_REGISTER(stale_mechanism)
