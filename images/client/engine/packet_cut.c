#include "engine/packet_cut.h"

#include <arpa/inet.h>
#include <string.h>

#include "engine/packet_bytes.h"
#include "engine/packet_frame.h"

struct layout {
    size_t ip_header, headers; /* headers: of Ethernet, IP and TCP together */
    size_t payload;
};

static void add32(uint8_t *at, uint32_t value)
{
    uint32_t sum;
    memcpy(&sum, at, sizeof sum);
    sum = htonl(ntohl(sum) + value);
    memcpy(at, &sum, sizeof sum);
}

/* A checksum that nobody vouches for would have to be checked over the whole: such a frame stays as it is. */
static struct layout layout_of(const struct packet_frame *frame)
{
    struct segment segment;
    if (!frame->checksum_known || frame_parse(frame->bytes, frame->length, true, &segment) != FRAME_SEGMENT)
        return (struct layout){0};
    return (struct layout){
        .ip_header = (size_t)(frame->bytes[ETHERNET_BYTES] & 15) * 4,
        .headers = (size_t)(segment.payload - frame->bytes),
        .payload = segment.length,
    };
}

uint32_t cut_count(const struct packet_frame *frame, uint32_t most_payload)
{
    if (frame->length <= HEADER_BYTES + (size_t)most_payload)
        return 1;
    size_t payload = layout_of(frame).payload;
    return payload <= most_payload ? 1 : (uint32_t)((payload + most_payload - 1) / most_payload);
}

size_t cut_room(const struct packet_frame *frame, uint32_t most_payload)
{
    return layout_of(frame).headers + most_payload;
}

size_t cut_build(const struct packet_frame *frame, uint32_t most_payload, uint32_t index, uint8_t *out)
{
    struct layout layout = layout_of(frame);
    size_t begin = (size_t)index * most_payload, left = layout.payload - begin;
    size_t length = left < most_payload ? left : most_payload;
    memcpy(out, frame->bytes, layout.headers);
    memcpy(out + layout.headers, frame->bytes + layout.headers + begin, length);
    uint8_t *ip = out + ETHERNET_BYTES, *tcp = ip + layout.ip_header;
    put16(ip + 2, (uint16_t)(layout.headers - ETHERNET_BYTES + length));
    put16(ip + 4, (uint16_t)(get16(ip + 4) + index));
    put16(ip + 10, 0);
    uint16_t sum = (uint16_t)~checksum_fold(checksum_add(0, ip, layout.ip_header));
    memcpy(ip + 10, &sum, sizeof sum);
    add32(tcp + 4, (uint32_t)begin);
    if (left > length)
        tcp[13] &= (uint8_t)~(TCP_FIN | TCP_PSH);
    return layout.headers + length;
}
