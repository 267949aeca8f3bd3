/*
 * io_uring in completion mode: accepts by itself (multishot), receives into a ring of provided buffers, sends header and
 * body in one operation, closes in the queue: behind the last reply linked to its send, so without another turn. One
 * io_uring_enter(2) a turn submits and waits.
 *
 * `user_data` carries the operation, the descriptor and its generation, so a completion that arrives after its
 * connection is gone is dropped. An accept that the kernel ends, or does not know as multishot, is queued again.
 *
 * Receives are single shots, queued again after each. A multishot receive loses what follows data closely: with two
 * segments and an RST, one connection in some thousands was never heard of again on 6.18 (test_userver_reuse.py shows it;
 * the lost end of stream of https://github.com/axboe/liburing/issues/1549 is its kin). A new request looks at the socket anew.
 */
#define _GNU_SOURCE /* O_… */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "accounting.h"
#include "mechanism.h"
#include "ring.h"

#define SUBMISSIONS 4096
#define COMPLETIONS 16384
#define BUFFERS 1024 /* a power of two */
#define BUFFER_SIZE 2048
#define SEND_AND_CLOSE 3 /* entries */

#ifdef RECEIVE_MULTISHOT /* only for the test that shows what they lose */
#define NAME "io_uring-multishot"
#define RECEIVE_FLAGS IORING_RECV_MULTISHOT
#else
#define NAME "io_uring"
#define RECEIVE_FLAGS 0
#endif

enum operation { OP_ACCEPT = 1, OP_WATCH, OP_RECEIVE, OP_SEND, OP_CLOSE, OP_LINKED_CLOSE, OP_CANCEL };

enum receive_state { RECEIVE_IDLE, RECEIVE_ON, RECEIVE_HOLDING, RECEIVE_RESUME };

struct slot {
    uint32_t generation;
    bool registered;
    bool listener;
    bool accepting; /* a listener that accepts by itself; else it is watched */
    bool sending;
    bool closing; /* a close is linked to the send */
    uint8_t receiving; /* enum receive_state */
    struct msghdr message;
};

static struct {
    struct ring ring;
    struct slot *slots;
    struct identity *again; /* whose accept, watch or receive must be queued before the next wait */
    int again_count, again_room;
    struct ring_buffers buffers;
    bool single_accept; /* this kernel does not know the multishot */
} uring;

static const char *uring_probe(__attribute__((unused)) unsigned connections)
{
    static const uint8_t needed[] = {IORING_OP_ACCEPT,  IORING_OP_RECV,         IORING_OP_SENDMSG, IORING_OP_CLOSE,
                                     IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL, IORING_OP_SOCKET,  IORING_OP_LAST};
    /* SOCKET itself is not used: it came with the ring of provided buffers, in 5.19. */
    return ring_probe(needed);
}

static uint64_t user_data(enum operation operation, struct identity who)
{
    return (uint64_t)who.generation << 32 | (uint64_t)operation << 24 | (uint32_t)who.descriptor;
}

static int uring_open(unsigned descriptors)
{
    uring.slots = calloc(descriptors, sizeof *uring.slots);
    if (!uring.slots || ring_open_best(&uring.ring, SUBMISSIONS, COMPLETIONS, IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL) != 0)
        return -1;
    uring.ring.waits = true;
    return ring_buffers_open(&uring.buffers, &uring.ring, BUFFERS, BUFFER_SIZE);
}

/* An entry of the queue. NULL with errno. */
static struct io_uring_sqe *prepare(enum operation operation, uint8_t opcode, struct identity who)
{
    if (ring_make_room(&uring.ring, 1) != 0)
        return NULL;
    struct io_uring_sqe *entry = ring_queue(&uring.ring);
    entry->opcode = opcode;
    entry->fd = who.descriptor;
    entry->user_data = user_data(operation, who);
    return entry;
}

static int queue_listener(struct identity who)
{
    bool accepting = uring.slots[who.descriptor].accepting;
    struct io_uring_sqe *entry =
        accepting ? prepare(OP_ACCEPT, IORING_OP_ACCEPT, who) : prepare(OP_WATCH, IORING_OP_POLL_ADD, who);
    if (!entry)
        return -1;
    if (!accepting)
        entry->poll32_events = POLLIN;
    else if (!uring.single_accept)
        entry->ioprio = IORING_ACCEPT_MULTISHOT;
    return 0;
}

static int queue_receive(struct identity who)
{
    struct io_uring_sqe *entry = prepare(OP_RECEIVE, IORING_OP_RECV, who);
    if (!entry)
        return -1;
    entry->flags = IOSQE_BUFFER_SELECT;
    entry->buf_group = RING_BUFFER_GROUP;
    entry->ioprio = RECEIVE_FLAGS;
    uring.slots[who.descriptor].receiving = RECEIVE_ON;
    return 0;
}

static int queue_cancel(struct identity who, enum operation operation, unsigned flags)
{
    struct io_uring_sqe *entry = prepare(OP_CANCEL, IORING_OP_ASYNC_CANCEL, who);
    if (!entry)
        return -1;
    entry->fd = -1;
    entry->addr = user_data(operation, who);
    entry->flags = (uint8_t)(IOSQE_CQE_SKIP_SUCCESS | flags);
    return 0;
}

static int queue_close(struct identity who, enum operation operation, unsigned flags)
{
    struct io_uring_sqe *entry = prepare(operation, IORING_OP_CLOSE, who);
    if (!entry)
        return -1;
    entry->flags = (uint8_t)flags;
    return 0;
}

static struct slot *enter_slot(struct identity who)
{
    struct slot *slot = &uring.slots[who.descriptor];
    memset(slot, 0, sizeof *slot);
    slot->generation = who.generation;
    slot->registered = true;
    return slot;
}

static bool is_current(struct identity who)
{
    const struct slot *slot = &uring.slots[who.descriptor];
    return slot->registered && slot->generation == who.generation;
}

/* The server accepts by hand from a watched listener, and must not block in it; the ring's own accept gives up at once
 * (EAGAIN) on a descriptor that is non-blocking. */
static int set_blocking(int descriptor, bool blocking)
{
    return counted_fcntl(descriptor, F_SETFL, blocking ? 0 : O_NONBLOCK);
}

static int uring_add(struct identity who, unsigned interest)
{
    (void)interest; /* only listeners come this way, for reading */
    enter_slot(who)->listener = true;
    return set_blocking(who.descriptor, false) != 0 ? -1 : queue_listener(who);
}

static int uring_accept(struct identity who)
{
    struct slot *slot = enter_slot(who);
    slot->listener = slot->accepting = true;
    return set_blocking(who.descriptor, true) != 0 ? -1 : queue_listener(who);
}

static int uring_recv(struct identity who)
{
    struct slot *slot = &uring.slots[who.descriptor];
    if (!is_current(who))
        enter_slot(who);
    if (slot->receiving == RECEIVE_IDLE)
        return queue_receive(who);
    if (slot->receiving == RECEIVE_HOLDING) /* as soon as the cancelled one has ended */
        slot->receiving = RECEIVE_RESUME;
    return 0;
}

static int uring_hold(struct identity who)
{
    struct slot *slot = &uring.slots[who.descriptor];
    if (slot->receiving != RECEIVE_ON)
        return 0;
    slot->receiving = RECEIVE_HOLDING;
    return queue_cancel(who, OP_RECEIVE, 0);
}

/* Behind a send that went out whole: the receive ends, which would keep the connection alive, and the descriptor is
 * closed. If the send fails both are cancelled, and linked_close_completed() sees to it. */
static int link_close(struct identity who)
{
    struct slot *slot = &uring.slots[who.descriptor];
    if (slot->receiving == RECEIVE_ON && queue_cancel(who, OP_RECEIVE, IOSQE_IO_HARDLINK) != 0)
        return -1;
    slot->closing = true;
    return queue_close(who, OP_LINKED_CLOSE, 0);
}

static int uring_send(struct identity who, const struct iovec *parts, int count, bool last)
{
    struct slot *slot = &uring.slots[who.descriptor];
    bool linked = last && !slot->closing; /* set: of a send that went out in part, whose links are cancelled */
    if (linked && ring_make_room(&uring.ring, SEND_AND_CLOSE) != 0)
        return -1;
    struct io_uring_sqe *entry = prepare(OP_SEND, IORING_OP_SENDMSG, who);
    if (!entry)
        return -1;
    slot->message = (struct msghdr){.msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)count};
    slot->sending = true;
    entry->addr = (uint64_t)(uintptr_t)&slot->message;
    entry->len = 1;
    entry->msg_flags = MSG_NOSIGNAL | MSG_WAITALL; /* the kernel goes on after a partial send */
    entry->flags = linked ? IOSQE_IO_LINK : 0;
    return linked ? link_close(who) : 0;
}

static int uring_del(struct identity who)
{
    struct slot *slot = &uring.slots[who.descriptor];
    slot->registered = false;
    if (slot->listener)
        return queue_cancel(who, slot->accepting ? OP_ACCEPT : OP_WATCH, 0);
    /* An operation in flight holds the open file: the connection would outlive its descriptor. */
    if (slot->receiving != RECEIVE_IDLE && queue_cancel(who, OP_RECEIVE, 0) != 0)
        return -1;
    return slot->sending ? queue_cancel(who, OP_SEND, 0) : 0;
}

static int uring_finish(struct identity who)
{
    int result = uring_del(who);
    if (uring.slots[who.descriptor].closing)
        return result;
    return queue_close(who, OP_CLOSE, IOSQE_CQE_SKIP_SUCCESS) != 0 ? -1 : result;
}

/* Before the next wait, the operation that keeps `who` going is queued once more. */
static int restart_later(struct identity who)
{
    if (uring.again_count == uring.again_room) {
        size_t room = uring.again_room ? 2 * (size_t)uring.again_room : 256;
        struct identity *larger = realloc(uring.again, room * sizeof *larger);
        if (!larger)
            return -1;
        uring.again = larger;
        uring.again_room = (int)room;
    }
    uring.again[uring.again_count++] = who;
    return 0;
}

static int restart_all(void)
{
    for (int i = 0; i < uring.again_count; i++) {
        struct identity who = uring.again[i];
        const struct slot *slot = &uring.slots[who.descriptor];
        if (!is_current(who) || slot->closing)
            continue;
        if (slot->listener ? queue_listener(who) != 0 : slot->receiving == RECEIVE_IDLE && queue_receive(who) != 0)
            return -1;
    }
    uring.again_count = 0;
    return 0;
}

/* The translations of completions below return 1 if there is an event to report, 0 if not, -1 with errno. */

static int accept_completed(struct identity who, const struct io_uring_cqe *completion, struct event *event)
{
    bool ended = !(completion->flags & IORING_CQE_F_MORE), unknown = completion->res == -EINVAL && !uring.single_accept;
    uring.single_accept |= unknown;
    if (ended && is_current(who) && completion->res != -ECANCELED && restart_later(who) != 0)
        return -1;
    if (completion->res < 0 && (!is_current(who) || unknown || completion->res == -ECANCELED))
        return 0;
    *event = (struct event){.who = who, .ready = EVENT_ACCEPTED, .result = completion->res}; /* nobody else would close it */
    return 1;
}

static int watch_completed(struct identity who, struct event *event)
{
    if (!is_current(who))
        return 0;
    *event = (struct event){.who = who, .ready = EVENT_READ};
    return restart_later(who) != 0 ? -1 : 1;
}

static int receive_completed(struct identity who, const struct io_uring_cqe *completion, struct event *event)
{
    const char *data = ring_buffer_take(&uring.buffers, completion); /* valid until the next wait */
    if (!is_current(who))
        return 0;
    struct slot *slot = &uring.slots[who.descriptor];
    bool interrupted = completion->res == -ENOBUFS || completion->res == -ECANCELED; /* not the connection's end */
    bool go_on = (completion->res > 0 || interrupted) && slot->receiving != RECEIVE_HOLDING;
    bool ended = !(completion->flags & IORING_CQE_F_MORE);
    if (ended)
        slot->receiving = RECEIVE_IDLE;
    if (ended && go_on && restart_later(who) != 0)
        return -1;
    *event = (struct event){.who = who, .ready = EVENT_RECEIVED, .result = completion->res, .data = data};
    return !interrupted;
}

static int send_completed(struct identity who, const struct io_uring_cqe *completion, struct event *event)
{
    if (!is_current(who))
        return 0;
    uring.slots[who.descriptor].sending = false;
    *event = (struct event){.who = who, .ready = EVENT_SENT, .result = completion->res};
    return 1;
}

static int linked_close_completed(struct identity who, int result)
{
    if (result != -ECANCELED) /* done, or nothing left to do */
        return 0;
    if (!is_current(who)) /* the server thinks that it is closed */
        return queue_close(who, OP_CLOSE, IOSQE_CQE_SKIP_SUCCESS);
    uring.slots[who.descriptor].closing = false; /* it will finish() */
    return 0;
}

static int completed(const struct io_uring_cqe *completion, struct event *event)
{
    struct identity who = {(int)(completion->user_data & 0xffffff), (uint32_t)(completion->user_data >> 32)};
    switch ((enum operation)(completion->user_data >> 24 & 0xff)) {
    case OP_ACCEPT:
        return accept_completed(who, completion, event);
    case OP_WATCH:
        return watch_completed(who, event);
    case OP_RECEIVE:
        return receive_completed(who, completion, event);
    case OP_SEND:
        return send_completed(who, completion, event);
    case OP_LINKED_CLOSE:
        return linked_close_completed(who, completion->res);
    case OP_CLOSE: /* only failures are told: the descriptor is free in any case */
    case OP_CANCEL: /* only failures are told: what was to be cancelled is over */
        break;
    }
    return 0;
}

static int uring_wait(struct event *events, int room, int timeout_ms)
{
    ring_buffers_return(&uring.buffers);
    if (restart_all() != 0)
        return -1;
    unsigned wait_for = ring_completion(&uring.ring) || timeout_ms == 0 ? 0 : 1;
    /* EBUSY, EAGAIN: the kernel has no room until completions are taken; what is queued stays so. */
    if (ring_enter(&uring.ring, wait_for, timeout_ms) != 0 && errno != EBUSY && errno != EAGAIN)
        return -1;
    int count = 0;
    for (const struct io_uring_cqe *next; count < room && (next = ring_completion(&uring.ring));) {
        int got = completed(next, &events[count]);
        ring_seen(&uring.ring);
        if (got < 0)
            return -1;
        count += got;
    }
    return count;
}

static void uring_close(void)
{
    ring_close(&uring.ring);
    ring_buffers_close(&uring.buffers);
    free(uring.slots);
    free(uring.again);
}

static const struct mechanism io_uring_mechanism = {
    .name = NAME,
    .summary = "completions: multishot accept, receives into provided buffers, one send a reply, queued close",
    .probe = uring_probe,
    .open = uring_open,
    .add = uring_add,
    .del = uring_del,
    .wait = uring_wait,
    .close = uring_close,
    .accept = uring_accept,
    .recv = uring_recv,
    .hold = uring_hold,
    .send = uring_send,
    .finish = uring_finish,
};
MECHANISM_REGISTER(io_uring_mechanism)
