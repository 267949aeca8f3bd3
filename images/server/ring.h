/* One io_uring by its three system calls and its shared memory: what the mechanisms built on it have in common. */
#ifndef USERVER_RING_H
#define USERVER_RING_H

#include <linux/io_uring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring {
    int descriptor;
    void *queues, *entries; /* mappings */
    size_t queues_size, entries_size;
    struct io_uring_sqe *sqes;
    unsigned *sq_head, *sq_tail, *cq_head, *cq_tail;
    unsigned sq_mask, sq_size, cq_mask;
    struct io_uring_cqe *cqes;
    unsigned unsubmitted;
    bool waits; /* its user sleeps in ring_enter(); set after opening */
};

#define RING_BUFFER_GROUP 1

/* Buffers that the kernel picks from when data is there, so an idle connection needs none. One group a ring. */
struct ring_buffers {
    struct io_uring_buf_ring *offered;
    char *memory;
    uint16_t count; /* a power of two */
    uint32_t size;  /* bytes of each */
    uint16_t *taken;
    int taken_count;
};

/* Offers `count` buffers. 0, or -1 with errno. Close the ring before the buffers. */
int ring_buffers_open(struct ring_buffers *buffers, const struct ring *ring, uint16_t count, uint32_t size);
void ring_buffers_close(struct ring_buffers *buffers);

/* The bytes of the one that the kernel has filled for a completion, NULL if for none. All that were taken go back to the
 * kernel with ring_buffers_return(): until then the bytes stay. */
const char *ring_buffer_take(struct ring_buffers *buffers, const struct io_uring_cqe *completion);
void ring_buffers_return(struct ring_buffers *buffers);

/* Why io_uring with these operations cannot be used here, or NULL. `operations` ends with IORING_OP_LAST. */
const char *ring_probe(const uint8_t *operations);

/* 0, or -1 with errno. `flags` are IORING_SETUP_… and IORING_SETUP_CQSIZE is added if `completions` is not 0. */
int ring_open(struct ring *ring, unsigned submissions, unsigned completions, unsigned flags);

/* The same, with the best that the kernel knows: task work only when asked for (6.1), or cooperative (5.19). */
int ring_open_best(struct ring *ring, unsigned submissions, unsigned completions, unsigned flags);
void ring_close(struct ring *ring);

/* Entries that can be queued before the next ring_enter(). */
unsigned ring_room(const struct ring *ring);

/* Room for entries that must be submitted together: if there is not enough, the queue is submitted first. 0, or -1 with
 * errno. */
int ring_make_room(struct ring *ring, unsigned entries);

/* A cleared entry, queued for the next ring_enter(); NULL if the queue is full. */
struct io_uring_sqe *ring_queue(struct ring *ring);

/* One counted io_uring_enter(2): submits what is queued and waits for `completions` of them, at most `timeout_ms`
 * (-1: for ever). 0, or -1 with errno; running out of time is no error. */
int ring_enter(struct ring *ring, unsigned completions, int timeout_ms);

/* The oldest completion, or NULL; ring_seen() gives its place back. */
struct io_uring_cqe *ring_completion(struct ring *ring);
void ring_seen(struct ring *ring);

/* io_uring_register(2). 0 or more, or -1 with errno. */
int ring_register(const struct ring *ring, unsigned operation, void *argument, unsigned count);

#endif
