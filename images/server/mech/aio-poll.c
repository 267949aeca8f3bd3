/*
 * IOCB_CMD_POLL: Linux's nearest kin of /dev/poll. Interests are handed over in batches by io_submit(2), and what is
 * ready is read from a ring in shared memory without a system call; io_getevents(2) is called only to sleep.
 *
 * A request is one-shot, so a level-triggered view is kept by submitting it again before the next wait for as long as
 * the interest lasts. Each submission has a sequence number: a completion of an earlier one, or of an earlier owner of
 * the descriptor, is recognised and dropped. A request in flight holds the open file, hence the cancel before a close.
 */
#include <errno.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "accounting.h"
#include "mechanism.h"

#define RING_MAGIC 0xa10a10a1u

/* What io_setup(2) maps into the process, as fs/aio.c lays it out. */
struct completion_ring {
    unsigned id, size, head, tail, magic, compatible, incompatible, header_length;
    struct io_event events[];
};

struct slot {
    uint32_t generation;
    uint32_t sequence; /* of the latest submission, which is all that may be reported */
    short interest;    /* POLLIN, POLLOUT; 0: not registered */
    bool in_flight;
    bool listed; /* in `to_submit` */
};

static struct {
    aio_context_t context;
    struct completion_ring *ring;
    struct slot *slots;     /* by descriptor */
    struct iocb *requests;  /* by descriptor; the address is the name that io_cancel knows */
    struct iocb **batch;
    int *to_submit; /* descriptors */
    int count;
} aio;

static struct call_counter call_submit = CALL_COUNTER("io_submit");
static struct call_counter call_getevents = WAIT_COUNTER("io_getevents");
static struct call_counter call_cancel = CALL_COUNTER("io_cancel");

static int context_open(unsigned requests)
{
    aio.context = 0;
    if (syscall(SYS_io_setup, requests, &aio.context) != 0)
        return -1;
    aio.ring = (struct completion_ring *)(uintptr_t)aio.context;
    if (aio.ring->magic == RING_MAGIC && !aio.ring->incompatible)
        return 0;
    syscall(SYS_io_destroy, aio.context);
    errno = ENOSYS;
    return -1;
}

static const char *refused(const char *call)
{
    static char text[128];
    snprintf(text, sizeof text, "%s: %s", call, strerror(errno));
    return text;
}

static const char *aio_probe(unsigned connections)
{
    if (context_open(connections) != 0)
        return errno == EAGAIN ? "fs.aio-max-nr has no room for so many connections" : refused("io_setup");
    int descriptor = eventfd(0, 0);
    struct iocb request = {.aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = (uint32_t)descriptor, .aio_buf = POLLOUT};
    struct iocb *list[] = {&request};
    const char *reason = NULL;
    if (syscall(SYS_io_submit, aio.context, 1, list) != 1)
        reason = errno == EINVAL ? "no IOCB_CMD_POLL (before Linux 4.18)" : refused("io_submit");
    close(descriptor);
    syscall(SYS_io_destroy, aio.context);
    return reason;
}

static int aio_open(unsigned descriptors)
{
    aio.slots = calloc(descriptors, sizeof *aio.slots);
    aio.requests = calloc(descriptors, sizeof *aio.requests);
    aio.batch = calloc(descriptors, sizeof *aio.batch);
    aio.to_submit = calloc(descriptors, sizeof *aio.to_submit);
    if (!aio.slots || !aio.requests || !aio.batch || !aio.to_submit)
        return -1;
    return context_open(descriptors);
}

static void enlist(int descriptor)
{
    struct slot *slot = &aio.slots[descriptor];
    if (!slot->listed)
        aio.to_submit[aio.count++] = descriptor;
    slot->listed = true;
}

/* The latest submission shall not be reported any more. */
static int withdraw(int descriptor)
{
    struct slot *slot = &aio.slots[descriptor];
    slot->sequence++;
    if (!slot->in_flight)
        return 0;
    slot->in_flight = false;
    struct io_event ignored;
    long result = COUNTED(&call_cancel, syscall(SYS_io_cancel, aio.context, &aio.requests[descriptor], &ignored));
    /* EINPROGRESS: being cancelled, the completion follows. EINVAL: it has completed already. */
    return result == 0 || errno == EINPROGRESS || errno == EINVAL ? 0 : -1;
}

static int aio_mod(struct identity who, unsigned interest)
{
    int result = withdraw(who.descriptor);
    aio.slots[who.descriptor].interest = (short)((interest & EVENT_READ ? POLLIN : 0) | (interest & EVENT_WRITE ? POLLOUT : 0));
    enlist(who.descriptor);
    return result;
}

static int aio_add(struct identity who, unsigned interest)
{
    aio.slots[who.descriptor].generation = who.generation;
    return aio_mod(who, interest);
}

static int aio_del(struct identity who)
{
    aio.slots[who.descriptor].interest = 0;
    return withdraw(who.descriptor);
}

/* Hands over everything listed. 0, or -1 with errno; what the kernel has no room for stays listed. */
static int submit(void)
{
    int wanted = 0;
    for (int i = 0; i < aio.count; i++) {
        int descriptor = aio.to_submit[i];
        struct slot *slot = &aio.slots[descriptor];
        slot->listed = false;
        if (!slot->interest || slot->in_flight)
            continue;
        struct iocb *request = &aio.requests[descriptor];
        memset(request, 0, sizeof *request);
        request->aio_data = (uint64_t)++slot->sequence << 32 | (uint32_t)descriptor;
        request->aio_lio_opcode = IOCB_CMD_POLL;
        request->aio_fildes = (uint32_t)descriptor;
        request->aio_buf = (uint64_t)slot->interest;
        aio.batch[wanted++] = request;
    }
    aio.count = 0;
    int done = 0;
    while (done < wanted) {
        long submitted = COUNTED(&call_submit, syscall(SYS_io_submit, aio.context, (long)(wanted - done), aio.batch + done));
        if (submitted < 0 && errno == EINTR)
            continue;
        if (submitted <= 0)
            break;
        for (; submitted > 0; submitted--)
            aio.slots[aio.batch[done++]->aio_fildes].in_flight = true;
    }
    for (int i = done; i < wanted; i++)
        enlist((int)aio.batch[i]->aio_fildes);
    return done == wanted || errno == EAGAIN ? 0 : -1;
}

static unsigned from_poll(uint64_t got)
{
    unsigned ready = (got & POLLIN ? EVENT_READ : 0) | (got & POLLOUT ? EVENT_WRITE : 0);
    if (got & (POLLERR | POLLHUP | POLLNVAL)) /* whichever the connection waits for will meet the error */
        ready |= EVENT_READ | EVENT_WRITE | EVENT_HANGUP;
    return ready;
}

static int take(const struct io_event *completion, struct event *event)
{
    int descriptor = (int)(uint32_t)completion->data;
    struct slot *slot = &aio.slots[descriptor];
    if (!slot->in_flight || slot->sequence != (uint32_t)(completion->data >> 32))
        return 0;
    slot->in_flight = false;
    enlist(descriptor); /* again, if it is still wanted by then */
    if (completion->res < 0) {
        errno = (int)-completion->res;
        return -1;
    }
    *event = (struct event){.who = {descriptor, slot->generation}, .ready = from_poll((uint64_t)completion->res)};
    return 1;
}

/* From shared memory, no system call. Returns the number of events; `any` tells of completions, dropped ones included. */
static int reap(struct event *events, int room, bool *any)
{
    unsigned head = aio.ring->head, tail = __atomic_load_n(&aio.ring->tail, __ATOMIC_ACQUIRE);
    int count = 0;
    *any = head != tail;
    while (head != tail && count < room) {
        int got = take(&aio.ring->events[head], &events[count]);
        head = (head + 1) % aio.ring->size;
        __atomic_store_n(&aio.ring->head, head, __ATOMIC_RELEASE);
        if (got < 0)
            return -1;
        count += got;
    }
    return count;
}

static int aio_wait(struct event *events, int room, int timeout_ms)
{
    if (submit() != 0)
        return -1;
    bool any;
    int count = reap(events, room, &any);
    if (count != 0 || timeout_ms == 0)
        return count;
    /* Without room for all requests, the ones in the ring were it, and now there is some. */
    if (any && aio.count)
        return 0;
    struct timespec limit = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000l};
    struct io_event first;
    long got = COUNTED(&call_getevents, syscall(SYS_io_getevents, aio.context, 1L, 1L, &first, timeout_ms < 0 ? NULL : &limit));
    if (got <= 0)
        return (int)got;
    count = take(&first, events);
    if (count < 0)
        return -1;
    int more = reap(events + count, room - count, &any);
    return more < 0 ? -1 : count + more;
}

static void aio_close(void)
{
    syscall(SYS_io_destroy, aio.context);
    free(aio.slots);
    free(aio.requests);
    free(aio.batch);
    free(aio.to_submit);
}

static const struct mechanism aio_poll_mechanism = {
    .name = "aio-poll",
    .summary = "IOCB_CMD_POLL with the completion ring in shared memory, kin of /dev/poll",
    .probe = aio_probe,
    .open = aio_open,
    .add = aio_add,
    .mod = aio_mod,
    .del = aio_del,
    .wait = aio_wait,
    .close = aio_close,
};
MECHANISM_REGISTER(aio_poll_mechanism)
