/* Sending: frames are collected and handed to the kernel in batches. */
#ifndef PACKET_TRANSMIT_H
#define PACKET_TRANSMIT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { TRANSMIT_FRAMES = 8192, TRANSMIT_BYTES = 4 << 20, TRANSMIT_BATCH = 256 };

struct packet_transmit {
    int descriptor;
    uint8_t *arena; /* the frames, one after the other; starts again when all were sent */
    size_t used;
    uint32_t head, count; /* messages[head … count) wait to be sent */
    uint64_t paused_until_ns; /* the receiver's backlog was full */
    uint64_t sent;
    uint64_t refusals; /* by the kernel (ENOBUFS): the frame was kept, and sent after a pause */
    uint64_t drops;    /* frames for which there was no room here */
    struct iovec *vectors;
    struct mmsghdr *messages;
};

int transmit_open(struct packet_transmit *transmit, int interface);
/* Room for a frame that the caller fills at once; NULL (counted) when too much waits already. */
uint8_t *transmit_reserve(struct packet_transmit *transmit, size_t length);
/* 0, or -1 with errno when the interface does not take frames at all. */
int transmit_flush(struct packet_transmit *transmit, uint64_t now_ns);
void transmit_close(struct packet_transmit *transmit);

static inline uint32_t transmit_waiting(const struct packet_transmit *transmit)
{
    return transmit->count - transmit->head;
}

#endif
