/* A frame of many segments, cut into the packets that the sender's kernel would have sent on a wire. */
#ifndef PACKET_CUT_H
#define PACKET_CUT_H

#include <stddef.h>
#include <stdint.h>

#include "engine/packet_ring.h"

/* How many packets a frame is, with at most `most_payload` bytes of TCP payload in each; 1 for whatever need not be cut. */
uint32_t cut_count(const struct packet_frame *frame, uint32_t most_payload);

/* Bytes of the largest of them. */
size_t cut_room(const struct packet_frame *frame, uint32_t most_payload);

/* Builds one of them, where there are several; returns its length. Its TCP checksum is not filled in. */
size_t cut_build(const struct packet_frame *frame, uint32_t most_payload, uint32_t index, uint8_t *out);

#endif
