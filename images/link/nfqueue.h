/*
 * The kernel's packet queue (nfnetlink_queue) over its own netlink socket, without a library.
 *
 * Packets of one queue come as messages and wait in the kernel until their verdict. When this process ends, whatever
 * way, the kernel drops what waits and, as the rule has no bypass, all that follows.
 */
#ifndef LINK_NFQUEUE_H
#define LINK_NFQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NFQUEUE_BATCH 64
#define NFQUEUE_MESSAGE (68 * 1024) /* the longest packet and its attributes */

struct nfqueue_packet {
    uint32_t id;
    uint32_t length;              /* of the packet, from its IP header on; 0 if the queue gives none */
    const unsigned char *payload; /* as much as the queue copies */
    uint32_t payload_length;
};

/* How much of each packet is copied to us, and whether large packets of segmentation offload come whole. */
enum nfqueue_copy {
    NFQUEUE_WHOLE_META, /* nothing, offloaded packets whole: for delays */
    NFQUEUE_CUT_HEADER, /* the header, cut into packets as on the wire: for what is decided packet by packet */
    NFQUEUE_CUT_ALL,    /* everything, cut: to change or repeat packets */
};

struct nfqueue {
    int socket;
    uint16_t number;
    uint32_t port; /* our netlink address: what else comes is not the kernel's */
    unsigned char *inputs; /* NFQUEUE_BATCH messages */
    unsigned char *output;
    size_t output_length;
};

/* All return 0, or -1 with errno set. A queue that another process has is EBUSY or EPERM. */
int nfqueue_open(struct nfqueue *queue, uint16_t number, uint32_t most_held);
int nfqueue_set_copy(struct nfqueue *queue, enum nfqueue_copy copy);
void nfqueue_close(struct nfqueue *queue);

/* Reads what has come, up to NFQUEUE_BATCH messages, without waiting; calls `take` for each packet. */
int nfqueue_read(struct nfqueue *queue, void (*take)(void *context, const struct nfqueue_packet *packet), void *context);

/* The packets in one message from the kernel, wherever it came from: returns false when it is not understood. */
bool nfqueue_parse(const unsigned char *message, size_t length,
                   void (*take)(void *context, const struct nfqueue_packet *packet), void *context);

/* Verdicts are gathered and go out with nfqueue_flush, or when there is no room. `payload` NULL: unchanged. */
int nfqueue_verdict(struct nfqueue *queue, uint32_t id, bool accept, const unsigned char *payload, uint32_t length);
int nfqueue_flush(struct nfqueue *queue);

#endif
