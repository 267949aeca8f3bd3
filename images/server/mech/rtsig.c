/*
 * A queued signal for each event: F_SETSIG and O_ASYNC make every descriptor send a real-time signal that carries the
 * descriptor and what happened, and sigtimedwait(2) fetches one at a time. Signals tell of transitions only, listeners
 * included. When the kernel's queue overflows it sends a plain SIGIO instead: the queue is thrown away and one poll(2) over
 * everything takes its place.
 *
 * A signal cannot carry a generation. A descriptor may therefore only be registered again once no signal of its former
 * owner can be queued: that holds after the queue has been seen empty since the deletion, and is brought about by emptying
 * it into memory, each signal under the generation that was registered when it was sent.
 */
#define _GNU_SOURCE /* F_SETSIG */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "accounting.h"
#include "mechanism.h"

struct slot {
    uint32_t generation;
    bool registered, listener;
    uint64_t deleted_in; /* epoch */
};

static struct {
    struct slot *slots;
    unsigned descriptors;
    int highest;
    int signal;
    pid_t owner;
    sigset_t waited;
    uint64_t epoch;        /* how often the queue was seen empty, from 1 */
    struct event *pending; /* fetched, but not yet handed out */
    size_t count, room;
    struct pollfd *polled;
} queue;

static struct call_counter call_wait = WAIT_COUNTER("sigtimedwait");
static struct call_counter call_poll = CALL_COUNTER("poll");

static int rtsig_open(unsigned descriptors)
{
    queue.slots = calloc(descriptors, sizeof *queue.slots);
    queue.polled = calloc(descriptors, sizeof *queue.polled);
    queue.descriptors = descriptors;
    queue.signal = SIGRTMIN + 1;
    queue.owner = getpid(); /* a system call each time, which would not be counted */
    queue.highest = -1;
    queue.epoch = 1;
    sigemptyset(&queue.waited);
    sigaddset(&queue.waited, queue.signal);
    sigaddset(&queue.waited, SIGIO);
    if (!queue.slots || !queue.polled)
        return -1;
    return sigprocmask(SIG_BLOCK, &queue.waited, NULL);
}

static int push(struct identity who, unsigned ready)
{
    if (queue.count == queue.room) {
        size_t room = queue.room ? 2 * queue.room : 256;
        struct event *larger = realloc(queue.pending, room * sizeof *larger);
        if (!larger)
            return -1;
        queue.pending = larger;
        queue.room = room;
    }
    queue.pending[queue.count++] = (struct event){.who = who, .ready = ready};
    return 0;
}

/* No poll bit set comes without what the state machine may wait for: an error is met by reading or writing. */
static unsigned from_band(long band)
{
    unsigned ready = (band & POLLIN ? EVENT_READ : 0) | (band & POLLOUT ? EVENT_WRITE : 0) | (band & POLLRDHUP ? EVENT_HANGUP : 0);
    if (band & (POLLERR | POLLHUP))
        ready |= EVENT_READ | EVENT_WRITE | EVENT_HANGUP;
    return ready;
}

/* The queue has lost signals: forget the rest of it and ask about every descriptor. */
static int poll_all(void)
{
    struct timespec now = {0};
    siginfo_t ignored;
    while (COUNTED(&call_wait, sigtimedwait(&queue.waited, &ignored, &now)) > 0 || errno == EINTR)
        ;
    queue.epoch++;
    int count = 0;
    for (int descriptor = 0; descriptor <= queue.highest; descriptor++)
        if (queue.slots[descriptor].registered)
            queue.polled[count++] = (struct pollfd){.fd = descriptor, .events = POLLIN | POLLOUT | POLLRDHUP};
    if (COUNTED(&call_poll, poll(queue.polled, (nfds_t)count, 0)) < 0)
        return -1;
    for (int i = 0; i < count; i++) {
        struct identity who = {queue.polled[i].fd, queue.slots[queue.polled[i].fd].generation};
        if (queue.polled[i].revents && push(who, from_band(queue.polled[i].revents)) != 0)
            return -1;
    }
    return 0;
}

static int take_signal(const siginfo_t *info)
{
    if (info->si_signo == SIGIO)
        return poll_all();
    if ((unsigned)info->si_fd >= queue.descriptors || !queue.slots[info->si_fd].registered)
        return 0; /* of a descriptor that is closed by now */
    return push((struct identity){info->si_fd, queue.slots[info->si_fd].generation}, from_band(info->si_band));
}

/* Fetches one signal into `pending`. 1, 0 if there is none in time, or -1 with errno. */
static int fetch(int timeout_ms)
{
    struct timespec limit = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000l};
    siginfo_t info;
    long got = COUNTED(&call_wait, sigtimedwait(&queue.waited, &info, timeout_ms < 0 ? NULL : &limit));
    if (got < 0 && errno == EAGAIN) {
        queue.epoch++;
        return 0;
    }
    return got < 0 || take_signal(&info) != 0 ? -1 : 1;
}

static int empty_queue(void)
{
    int got;
    while ((got = fetch(0)) > 0 || (got < 0 && errno == EINTR))
        ;
    return got;
}

static int rtsig_add(struct identity who, unsigned interest)
{
    struct slot *slot = &queue.slots[who.descriptor];
    if (slot->deleted_in == queue.epoch && empty_queue() != 0)
        return -1;
    slot->generation = who.generation;
    slot->registered = true;
    slot->listener = interest & EVENT_LISTENER;
    if (who.descriptor > queue.highest)
        queue.highest = who.descriptor;
    if (counted_fcntl(who.descriptor, F_SETOWN, queue.owner) < 0 || counted_fcntl(who.descriptor, F_SETSIG, queue.signal) < 0 ||
        counted_fcntl(who.descriptor, F_SETFL, O_NONBLOCK | O_ASYNC) < 0) {
        slot->registered = false;
        return -1;
    }
    /* What happened before O_ASYNC was sent to nobody: all of it is possible. */
    return push(who, slot->listener ? EVENT_READ : EVENT_READ | EVENT_WRITE | EVENT_HANGUP);
}

static int rtsig_del(struct identity who)
{
    struct slot *slot = &queue.slots[who.descriptor];
    slot->registered = false;
    slot->deleted_in = queue.epoch;
    while (queue.highest >= 0 && !queue.slots[queue.highest].registered)
        queue.highest--;
    return slot->listener ? counted_fcntl(who.descriptor, F_SETFL, O_NONBLOCK) : 0; /* others are closed next */
}

static int rtsig_wait(struct event *events, int room, int timeout_ms)
{
    if (queue.count == 0) {
        int got = fetch(timeout_ms);
        if (got <= 0)
            return got;
    }
    size_t count = queue.count < (size_t)room ? queue.count : (size_t)room;
    if (count == 0)
        return 0;
    memcpy(events, queue.pending, count * sizeof *events);
    queue.count -= count;
    memmove(queue.pending, queue.pending + count, queue.count * sizeof *events);
    return (int)count;
}

static void rtsig_close(void)
{
    free(queue.slots);
    free(queue.polled);
    free(queue.pending);
}

static const struct mechanism rtsig_mechanism = {
    .name = "rtsig",
    .summary = "a queued real-time signal for each event, fetched by sigtimedwait",
    .fixed_interest = true,
    .edge_triggered = true,
    .edge_triggered_listener = true,
    .open = rtsig_open,
    .add = rtsig_add,
    .del = rtsig_del,
    .wait = rtsig_wait,
    .close = rtsig_close,
};
MECHANISM_REGISTER(rtsig_mechanism)
