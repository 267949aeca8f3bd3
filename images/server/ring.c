#define _GNU_SOURCE /* syscall, MAP_POPULATE */
#include "ring.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "accounting.h"

static struct call_counter call_enter = CALL_COUNTER("io_uring_enter");

static const char *reason_of(int error)
{
    static char text[96];
    if (error == EPERM)
        return "io_uring is refused here (EPERM: a seccomp profile or kernel.io_uring_disabled)";
    if (error == ENOSYS)
        return "this kernel has no io_uring";
    snprintf(text, sizeof text, "io_uring: %s", strerror(error));
    return text;
}

const char *ring_probe(const uint8_t *operations)
{
    static char text[64];
    struct ring ring;
    if (ring_open(&ring, 4, 0, 0) != 0)
        return reason_of(errno);
    size_t size = sizeof(struct io_uring_probe) + 256 * sizeof(struct io_uring_probe_op);
    struct io_uring_probe *probe = calloc(1, size);
    const char *reason = NULL;
    if (!probe || ring_register(&ring, IORING_REGISTER_PROBE, probe, 256) < 0)
        reason = "this kernel's io_uring cannot be asked what it can do (before Linux 5.6)";
    for (const uint8_t *each = operations; !reason && *each != IORING_OP_LAST; each++) {
        if (*each <= probe->last_op && (probe->ops[*each].flags & IO_URING_OP_SUPPORTED))
            continue;
        snprintf(text, sizeof text, "this kernel's io_uring lacks operation %u", *each);
        reason = text;
    }
    free(probe);
    ring_close(&ring);
    return reason;
}

static int map_queues(struct ring *ring, const struct io_uring_params *parameters)
{
    const struct io_sqring_offsets *sq = &parameters->sq_off;
    const struct io_cqring_offsets *cq = &parameters->cq_off;
    size_t sq_size = sq->array + parameters->sq_entries * sizeof(unsigned);
    size_t cq_size = cq->cqes + parameters->cq_entries * sizeof(struct io_uring_cqe);
    ring->queues_size = sq_size > cq_size ? sq_size : cq_size;
    ring->entries_size = parameters->sq_entries * sizeof(struct io_uring_sqe);
    if (!(parameters->features & IORING_FEAT_SINGLE_MMAP)) { /* before 5.4 */
        errno = ENOSYS;
        return -1;
    }
    int protection = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_POPULATE;
    ring->queues = mmap(NULL, ring->queues_size, protection, flags, ring->descriptor, IORING_OFF_SQ_RING);
    ring->entries = mmap(NULL, ring->entries_size, protection, flags, ring->descriptor, IORING_OFF_SQES);
    if (ring->queues == MAP_FAILED || ring->entries == MAP_FAILED)
        return -1;
    char *base = ring->queues;
    ring->sqes = ring->entries;
    ring->sq_head = (unsigned *)(base + sq->head);
    ring->sq_tail = (unsigned *)(base + sq->tail);
    ring->sq_mask = *(unsigned *)(base + sq->ring_mask);
    ring->sq_size = parameters->sq_entries;
    ring->cq_head = (unsigned *)(base + cq->head);
    ring->cq_tail = (unsigned *)(base + cq->tail);
    ring->cq_mask = *(unsigned *)(base + cq->ring_mask);
    ring->cqes = (struct io_uring_cqe *)(base + cq->cqes);
    unsigned *array = (unsigned *)(base + sq->array);
    for (unsigned i = 0; i < parameters->sq_entries; i++)
        array[i] = i; /* entries are always taken in order */
    return 0;
}

int ring_open(struct ring *ring, unsigned submissions, unsigned completions, unsigned flags)
{
    memset(ring, 0, sizeof *ring);
    ring->queues = ring->entries = MAP_FAILED;
    struct io_uring_params parameters = {.flags = flags | (completions ? IORING_SETUP_CQSIZE : 0), .cq_entries = completions};
    ring->descriptor = (int)syscall(__NR_io_uring_setup, submissions, &parameters);
    if (ring->descriptor < 0)
        return -1;
    if (map_queues(ring, &parameters) == 0)
        return 0;
    int saved = errno;
    ring_close(ring);
    errno = saved;
    return -1;
}

int ring_open_best(struct ring *ring, unsigned submissions, unsigned completions, unsigned flags)
{
    static const unsigned ways[] = {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_COOP_TASKRUN, 0};
    int result = -1;
    for (size_t i = 0; result != 0 && i < sizeof ways / sizeof *ways; i++) {
        result = ring_open(ring, submissions, completions, flags | ways[i]);
        if (result != 0 && errno != EINVAL)
            return -1;
    }
    return result;
}

void ring_close(struct ring *ring)
{
    if (ring->entries != MAP_FAILED)
        munmap(ring->entries, ring->entries_size);
    if (ring->queues != MAP_FAILED)
        munmap(ring->queues, ring->queues_size);
    close(ring->descriptor);
}

unsigned ring_room(const struct ring *ring)
{
    return ring->sq_size - (*ring->sq_tail - __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE));
}

int ring_make_room(struct ring *ring, unsigned entries)
{
    while (ring_room(ring) < entries)
        if (ring_enter(ring, 0, -1) != 0 && errno != EINTR)
            return -1;
    return 0;
}

struct io_uring_sqe *ring_queue(struct ring *ring)
{
    unsigned tail = *ring->sq_tail; /* only this side writes it */
    if (ring_room(ring) == 0)
        return NULL;
    struct io_uring_sqe *entry = &ring->sqes[tail & ring->sq_mask];
    memset(entry, 0, sizeof *entry);
    /* The kernel looks only inside io_uring_enter, so the caller may fill the entry after this. */
    __atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
    ring->unsubmitted++;
    return entry;
}

int ring_enter(struct ring *ring, unsigned completions, int timeout_ms)
{
    struct __kernel_timespec limit = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000ll};
    struct io_uring_getevents_arg argument = {.ts = (uint64_t)(uintptr_t)&limit};
    call_enter.waits = ring->waits;
    bool limited = completions > 0 && timeout_ms >= 0;
    unsigned flags = IORING_ENTER_GETEVENTS | (limited ? IORING_ENTER_EXT_ARG : 0);
    long submitted = COUNTED(&call_enter, syscall(__NR_io_uring_enter, ring->descriptor, ring->unsubmitted, completions, flags,
                                                  limited ? &argument : NULL, limited ? sizeof argument : 0));
    if (submitted >= 0)
        ring->unsubmitted -= (unsigned)submitted;
    return submitted >= 0 || errno == ETIME ? 0 : -1;
}

struct io_uring_cqe *ring_completion(struct ring *ring)
{
    unsigned head = *ring->cq_head; /* only this side writes it */
    return head == __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE) ? NULL : &ring->cqes[head & ring->cq_mask];
}

void ring_seen(struct ring *ring)
{
    __atomic_store_n(ring->cq_head, *ring->cq_head + 1, __ATOMIC_RELEASE);
}

int ring_register(const struct ring *ring, unsigned operation, void *argument, unsigned count)
{
    return (int)syscall(__NR_io_uring_register, ring->descriptor, operation, argument, count);
}

static void give(struct ring_buffers *buffers, uint16_t index)
{
    uint16_t tail = buffers->offered->tail; /* only this side writes it */
    struct io_uring_buf *place = &buffers->offered->bufs[tail & (buffers->count - 1)];
    place->addr = (uint64_t)(uintptr_t)(buffers->memory + (size_t)index * buffers->size);
    place->len = buffers->size;
    place->bid = index;
    __atomic_store_n(&buffers->offered->tail, (uint16_t)(tail + 1), __ATOMIC_RELEASE);
}

int ring_buffers_open(struct ring_buffers *buffers, const struct ring *ring, uint16_t count, uint32_t size)
{
    buffers->count = count;
    buffers->size = size;
    buffers->offered = mmap(NULL, count * sizeof(struct io_uring_buf), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    buffers->memory = malloc((size_t)count * size);
    buffers->taken = malloc(count * sizeof *buffers->taken);
    if (buffers->offered == MAP_FAILED || !buffers->memory || !buffers->taken)
        return -1;
    struct io_uring_buf_reg registration = {
        .ring_addr = (uint64_t)(uintptr_t)buffers->offered,
        .ring_entries = count,
        .bgid = RING_BUFFER_GROUP,
    };
    if (ring_register(ring, IORING_REGISTER_PBUF_RING, &registration, 1) < 0)
        return -1;
    for (uint16_t i = 0; i < count; i++)
        give(buffers, i);
    return 0;
}

void ring_buffers_close(struct ring_buffers *buffers)
{
    munmap(buffers->offered, buffers->count * sizeof(struct io_uring_buf));
    free(buffers->memory);
    free(buffers->taken);
}

const char *ring_buffer_take(struct ring_buffers *buffers, const struct io_uring_cqe *completion)
{
    if (!(completion->flags & IORING_CQE_F_BUFFER))
        return NULL;
    uint16_t index = (uint16_t)(completion->flags >> IORING_CQE_BUFFER_SHIFT);
    buffers->taken[buffers->taken_count++] = index;
    return buffers->memory + (size_t)index * buffers->size;
}

void ring_buffers_return(struct ring_buffers *buffers)
{
    while (buffers->taken_count > 0)
        give(buffers, buffers->taken[--buffers->taken_count]);
}
