/*
 * poll(2) over a dense array: a map leads from the descriptor to its entry, and a hole is filled from the tail, so
 * the kernel never scans an unused entry. One call per loop and none per interest change.
 */
#include <poll.h>
#include <stdlib.h>

#include "accounting.h"
#include "mechanism.h"

static struct {
    struct pollfd *entries;
    uint32_t *generations; /* parallel to entries */
    int *places;           /* descriptor → index in entries */
    int count;
} set;

static struct call_counter call_poll = WAIT_COUNTER("poll");

static short to_poll(unsigned interest)
{
    return (short)((interest & EVENT_READ ? POLLIN : 0) | (interest & EVENT_WRITE ? POLLOUT : 0));
}

static unsigned from_poll(short got)
{
    unsigned ready = (got & POLLIN ? EVENT_READ : 0) | (got & POLLOUT ? EVENT_WRITE : 0);
    if (got & (POLLERR | POLLHUP | POLLNVAL)) /* whichever the connection waits for will meet the error */
        ready |= EVENT_READ | EVENT_WRITE | EVENT_HANGUP;
    return ready;
}

static int poll_open(unsigned descriptors)
{
    set.entries = calloc(descriptors, sizeof *set.entries);
    set.generations = calloc(descriptors, sizeof *set.generations);
    set.places = calloc(descriptors, sizeof *set.places);
    return set.entries && set.generations && set.places ? 0 : -1;
}

static int poll_add(struct identity who, unsigned interest)
{
    int place = set.count++;
    set.places[who.descriptor] = place;
    set.generations[place] = who.generation;
    set.entries[place] = (struct pollfd){.fd = who.descriptor, .events = to_poll(interest)};
    return 0;
}

static int poll_mod(struct identity who, unsigned interest)
{
    set.entries[set.places[who.descriptor]].events = to_poll(interest);
    return 0;
}

static int poll_del(struct identity who)
{
    int hole = set.places[who.descriptor];
    int last = --set.count;
    set.entries[hole] = set.entries[last];
    set.generations[hole] = set.generations[last];
    set.places[set.entries[hole].fd] = hole;
    return 0;
}

static int poll_wait(struct event *events, int room, int timeout_ms)
{
    int left = (int)COUNTED(&call_poll, poll(set.entries, (nfds_t)set.count, timeout_ms));
    if (left < 0)
        return -1;
    int count = 0;
    for (int i = 0; i < set.count && left > 0 && count < room; i++) {
        if (!set.entries[i].revents)
            continue;
        left--;
        struct identity who = {set.entries[i].fd, set.generations[i]};
        events[count++] = (struct event){.who = who, .ready = from_poll(set.entries[i].revents)};
    }
    return count;
}

static void poll_close(void)
{
    free(set.entries);
    free(set.generations);
    free(set.places);
}

static const struct mechanism poll_mechanism = {
    .name = "poll",
    .summary = "poll(2) over a dense array",
    .open = poll_open,
    .add = poll_add,
    .mod = poll_mod,
    .del = poll_del,
    .wait = poll_wait,
    .close = poll_close,
};
MECHANISM_REGISTER(poll_mechanism)
