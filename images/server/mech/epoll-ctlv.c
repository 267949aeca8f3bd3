/*
 * Level-triggered epoll whose additions and changes are collected and handed over in one system call just before
 * epoll_wait(2). The paper added a call for that, epoll_ctlv; here it is one io_uring_enter(2) that carries an
 * IORING_OP_EPOLL_CTL entry for each. Deletions go out at once by epoll_ctl(2), because the descriptor is closed next.
 *
 * At most one change a descriptor is queued: a later one is merged into it, and a deletion takes it back, so a queued
 * change never reaches the next owner of the number.
 */
#include <errno.h>
#include <stdlib.h>

#include "accounting.h"
#include "epoll_set.h"
#include "ring.h"

#define BATCH 4096 /* entries of one io_uring_enter */
#define NOT_QUEUED 0

struct change {
    struct identity who;
    int operation; /* EPOLL_CTL_ADD or EPOLL_CTL_MOD */
    struct epoll_event event;
};

static struct {
    struct ring ring;
    struct change *changes;
    int count;
    int *places; /* descriptor → index in changes + 1, or NOT_QUEUED */
} queue;

static const char *ctlv_probe(__attribute__((unused)) unsigned connections)
{
    static const uint8_t needed[] = {IORING_OP_EPOLL_CTL, IORING_OP_LAST};
    return ring_probe(needed);
}

static int ctlv_open(unsigned descriptors)
{
    queue.changes = calloc(descriptors, sizeof *queue.changes);
    queue.places = calloc(descriptors, sizeof *queue.places);
    if (!queue.changes || !queue.places || epoll_set_open(descriptors) != 0)
        return -1;
    return ring_open(&queue.ring, BATCH, 0, IORING_SETUP_CLAMP);
}

static int enqueue(struct identity who, unsigned interest, int operation)
{
    int *place = &queue.places[who.descriptor];
    if (*place == NOT_QUEUED) {
        queue.changes[queue.count] = (struct change){.who = who, .operation = operation};
        *place = ++queue.count;
    }
    /* An addition that is not out yet stays an addition, with the newest interest. */
    queue.changes[*place - 1].event = (struct epoll_event){.events = epoll_set_bits(interest), .data.u64 = identity_pack(who)};
    return 0;
}

static int ctlv_add(struct identity who, unsigned interest)
{
    return enqueue(who, interest, EPOLL_CTL_ADD);
}

static int ctlv_mod(struct identity who, unsigned interest)
{
    return enqueue(who, interest, EPOLL_CTL_MOD);
}

static int ctlv_del(struct identity who)
{
    int place = queue.places[who.descriptor];
    if (place == NOT_QUEUED)
        return epoll_set_del(who);
    int operation = queue.changes[place - 1].operation;
    queue.changes[place - 1] = queue.changes[--queue.count];
    queue.places[queue.changes[place - 1].who.descriptor] = place;
    queue.places[who.descriptor] = NOT_QUEUED;
    return operation == EPOLL_CTL_ADD ? 0 : epoll_set_del(who); /* the kernel has not heard of it yet */
}

/* Takes the results of a flush. An addition that failed becomes an event, since its caller is long gone. */
static int take_results(struct event *events, int expected)
{
    int failed = 0;
    for (; expected > 0; expected--) {
        const struct io_uring_cqe *result = ring_completion(&queue.ring);
        if (result->res < 0)
            events[failed++] = (struct event){.who = identity_unpack(result->user_data), .ready = EVENT_FAILED};
        ring_seen(&queue.ring);
    }
    return failed;
}

/* One system call for up to BATCH changes. Returns the number of events written, or -1 with errno. */
static int flush(struct event *events)
{
    int failed = 0;
    for (int done = 0; done < queue.count;) {
        int batch = 0;
        struct io_uring_sqe *entry;
        for (; done + batch < queue.count && (entry = ring_queue(&queue.ring)); batch++) {
            struct change *change = &queue.changes[done + batch];
            entry->opcode = IORING_OP_EPOLL_CTL;
            entry->fd = epoll_set_descriptor();
            entry->off = (uint64_t)change->who.descriptor;
            entry->len = (uint32_t)change->operation;
            entry->addr = (uint64_t)(uintptr_t)&change->event;
            entry->user_data = identity_pack(change->who);
            queue.places[change->who.descriptor] = NOT_QUEUED;
        }
        unsigned left;
        do { /* once, unless a signal came between submitting and counting the results */
            if (ring_enter(&queue.ring, (unsigned)batch, -1) != 0 && errno != EINTR)
                return -1;
            left = __atomic_load_n(queue.ring.cq_tail, __ATOMIC_ACQUIRE) - *queue.ring.cq_head;
        } while (left < (unsigned)batch);
        failed += take_results(events + failed, batch);
        done += batch;
    }
    queue.count = 0;
    return failed;
}

static int ctlv_wait(struct event *events, int room, int timeout_ms)
{
    int failed = flush(events);
    return failed ? failed : epoll_set_wait(events, room, timeout_ms);
}

static void ctlv_close(void)
{
    ring_close(&queue.ring);
    epoll_set_close();
    free(queue.changes);
    free(queue.places);
}

static const struct mechanism epoll_ctlv_mechanism = {
    .name = "epoll-ctlv",
    .summary = "level-triggered epoll, changes of interest batched into one io_uring_enter",
    .probe = ctlv_probe,
    .open = ctlv_open,
    .add = ctlv_add,
    .mod = ctlv_mod,
    .del = ctlv_del,
    .wait = ctlv_wait,
    .close = ctlv_close,
};
MECHANISM_REGISTER(epoll_ctlv_mechanism)
