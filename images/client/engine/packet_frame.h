/* Ethernet + IPv4 + TCP frames: taking them apart and putting them together. Knows nothing of connections. */
#ifndef PACKET_FRAME_H
#define PACKET_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_PSH = 8, TCP_ACK = 16, TCP_URG = 32 };

enum {
    ETHERNET_BYTES = 14,
    IP_BYTES = 20,
    TCP_BYTES = 20,
    HEADER_BYTES = ETHERNET_BYTES + IP_BYTES + TCP_BYTES,
    SYN_OPTION_BYTES = 8, /* MSS, no-operation, window scale */
};

/* A received TCP segment; numbers in host order. The peer is the sender. */
struct segment {
    uint32_t peer_address, host;
    uint16_t peer_port, port;
    uint32_t sequence, acknowledged;
    uint16_t window; /* as on the wire, not scaled */
    uint8_t flags;
    uint8_t window_shift; /* of a SYN; 0 when absent */
    bool has_window_shift;
    uint16_t mss; /* of a SYN; 0 when absent */
    const uint8_t *payload;
    uint32_t length; /* of the payload */
};

enum frame_kind {
    FRAME_SEGMENT,
    FRAME_OTHER, /* not whole, unfragmented TCP over IPv4 */
    FRAME_BAD_CHECKSUM,
};

/* checksum_known: the kernel vouches for the TCP checksum (or has not filled it in yet). */
enum frame_kind frame_parse(const uint8_t *bytes, size_t length, bool checksum_known, struct segment *segment);

/* Both ends of every frame: what does not change from connection to connection. */
struct frame_path {
    uint8_t source_mac[6], target_mac[6];
    uint32_t target; /* host order */
    uint16_t port;
};

struct frame_fields {
    uint32_t host;
    uint16_t port;
    uint32_t sequence, acknowledged;
    uint16_t window;
    uint8_t flags;
    uint16_t mss;         /* with TCP_SYN */
    uint8_t window_shift; /* with TCP_SYN */
    const uint8_t *payload;
    uint32_t length;
};

/* Bytes that frame_build() will write. */
static inline size_t frame_size(const struct frame_fields *fields)
{
    return HEADER_BYTES + (fields->flags & TCP_SYN ? SYN_OPTION_BYTES : 0) + fields->length;
}

void frame_build(uint8_t *out, const struct frame_path *path, const struct frame_fields *fields);

/* RFC 1071 over any number of bytes; `sum` carries a partial result on. Not yet folded. */
uint64_t checksum_add(uint64_t sum, const uint8_t *bytes, size_t length);
/* Folds to 16 bits in network byte order; not complemented. */
uint16_t checksum_fold(uint64_t sum);

#endif
