#define _GNU_SOURCE
#include "engine/packet_transmit.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SEND_BUFFER = 8 << 20,
    /* After a refusal: long enough for a backlog of 1000 frames to shrink noticeably, short against a millisecond. */
    PAUSE_NS = 200000,
};

int transmit_open(struct packet_transmit *transmit, int interface)
{
    memset(transmit, 0, sizeof *transmit);
    transmit->arena = malloc(TRANSMIT_BYTES);
    transmit->vectors = calloc(TRANSMIT_FRAMES, sizeof *transmit->vectors);
    transmit->messages = calloc(TRANSMIT_FRAMES, sizeof *transmit->messages);
    /* Protocol 0: this socket receives nothing. */
    transmit->descriptor = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_ifindex = interface};
    int on = 1, buffer = SEND_BUFFER;
    if (!transmit->arena || !transmit->vectors || !transmit->messages || transmit->descriptor < 0 ||
        setsockopt(transmit->descriptor, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on) < 0 ||
        setsockopt(transmit->descriptor, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer) < 0 ||
        bind(transmit->descriptor, (struct sockaddr *)&address, sizeof address) < 0) {
        int saved = errno;
        transmit_close(transmit);
        errno = saved;
        return -1;
    }
    for (uint32_t i = 0; i < TRANSMIT_FRAMES; i++)
        transmit->messages[i].msg_hdr = (struct msghdr){.msg_iov = &transmit->vectors[i], .msg_iovlen = 1};
    return 0;
}

uint8_t *transmit_reserve(struct packet_transmit *transmit, size_t length)
{
    if (transmit->count == TRANSMIT_FRAMES || transmit->used + length > TRANSMIT_BYTES) {
        transmit->drops++;
        return NULL;
    }
    uint8_t *frame = transmit->arena + transmit->used;
    transmit->vectors[transmit->count++] = (struct iovec){.iov_base = frame, .iov_len = length};
    transmit->used += length;
    return frame;
}

int transmit_flush(struct packet_transmit *transmit, uint64_t now_ns)
{
    if (now_ns < transmit->paused_until_ns)
        return 0;
    while (transmit->head < transmit->count) {
        unsigned batch = transmit_waiting(transmit) < TRANSMIT_BATCH ? transmit_waiting(transmit) : TRANSMIT_BATCH;
        int sent = sendmmsg(transmit->descriptor, transmit->messages + transmit->head, batch, 0);
        if (sent > 0) {
            transmit->sent += (unsigned)sent;
            transmit->head += (unsigned)sent;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno != ENOBUFS && errno != EAGAIN)
            return -1;
        /* The frame is still here: it goes out after the pause. */
        transmit->refusals++;
        transmit->paused_until_ns = now_ns + PAUSE_NS;
        return 0;
    }
    transmit->head = transmit->count = 0;
    transmit->used = 0;
    return 0;
}

void transmit_close(struct packet_transmit *transmit)
{
    if (transmit->descriptor >= 0)
        close(transmit->descriptor);
    transmit->descriptor = -1;
    free(transmit->arena);
    free(transmit->vectors);
    free(transmit->messages);
    transmit->arena = NULL;
    transmit->vectors = NULL;
    transmit->messages = NULL;
}
