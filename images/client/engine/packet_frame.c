#include "engine/packet_frame.h"

#include "engine/packet_bytes.h"

enum { PROTOCOL_TCP = 6, ETHERTYPE_IPV4 = 0x0800 };

uint64_t checksum_add(uint64_t sum, const uint8_t *bytes, size_t length)
{
    /* Four bytes a step into 64 bits: the carries of 2^32 steps fit above. */
    while (length >= 4) {
        uint32_t word;
        memcpy(&word, bytes, sizeof word);
        sum += word;
        bytes += 4;
        length -= 4;
    }
    if (length) {
        uint32_t word = 0;
        memcpy(&word, bytes, length);
        sum += word;
    }
    return sum;
}

uint16_t checksum_fold(uint64_t sum)
{
    sum = (sum & 0xffffffffu) + (sum >> 32);
    sum = (sum & 0xffffffffu) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

/* Over the pseudo header and the whole segment, including its checksum field. */
static uint16_t tcp_sum(const uint8_t *ip, const uint8_t *tcp, size_t length)
{
    uint64_t sum = checksum_add(0, ip + 12, 8);
    sum += htonl(PROTOCOL_TCP) + (uint64_t)htonl((uint32_t)length);
    return checksum_fold(checksum_add(sum, tcp, length));
}

static bool parse_options(const uint8_t *at, const uint8_t *end, struct segment *segment)
{
    while (at < end && *at != 0) {
        if (*at == 1) {
            at++;
            continue;
        }
        if (end - at < 2 || at[1] < 2 || at[1] > end - at)
            return false;
        if (at[0] == 2 && at[1] == 4)
            segment->mss = get16(at + 2);
        if (at[0] == 3 && at[1] == 3) {
            segment->window_shift = at[2] > 14 ? 14 : at[2];
            segment->has_window_shift = true;
        }
        at += at[1];
    }
    return true;
}

enum frame_kind frame_parse(const uint8_t *bytes, size_t length, bool checksum_known, struct segment *segment)
{
    if (length < HEADER_BYTES || get16(bytes + 12) != ETHERTYPE_IPV4)
        return FRAME_OTHER;
    const uint8_t *ip = bytes + ETHERNET_BYTES;
    size_t ip_header = (size_t)(ip[0] & 15) * 4, ip_total = get16(ip + 2);
    bool fragment = get16(ip + 6) & 0x3fff; /* more fragments follow, or an offset */
    if (ip[0] >> 4 != 4 || ip_header < IP_BYTES || ip[9] != PROTOCOL_TCP || fragment)
        return FRAME_OTHER;
    if (ip_total > length - ETHERNET_BYTES || ip_total < ip_header + TCP_BYTES)
        return FRAME_OTHER;
    if (checksum_fold(checksum_add(0, ip, ip_header)) != 0xffff)
        return FRAME_BAD_CHECKSUM;
    const uint8_t *tcp = ip + ip_header;
    size_t tcp_length = ip_total - ip_header, tcp_header = (size_t)(tcp[12] >> 4) * 4;
    if (tcp_header < TCP_BYTES || tcp_header > tcp_length)
        return FRAME_OTHER;
    if (!checksum_known && tcp_sum(ip, tcp, tcp_length) != 0xffff)
        return FRAME_BAD_CHECKSUM;
    *segment = (struct segment){
        .peer_address = get32(ip + 12),
        .host = get32(ip + 16),
        .peer_port = get16(tcp),
        .port = get16(tcp + 2),
        .sequence = get32(tcp + 4),
        .acknowledged = get32(tcp + 8),
        .flags = tcp[13] & 63,
        .window = get16(tcp + 14),
        .payload = tcp + tcp_header,
        .length = (uint32_t)(tcp_length - tcp_header),
    };
    if (!parse_options(tcp + TCP_BYTES, tcp + tcp_header, segment))
        return FRAME_OTHER;
    return FRAME_SEGMENT;
}

static void build_ip(uint8_t *ip, uint32_t host, uint32_t target, size_t total)
{
    static const uint8_t fixed[12] = {0x45, 0, 0, 0, 0, 0, 0x40 /* do not fragment */, 0, 64, PROTOCOL_TCP, 0, 0};
    memcpy(ip, fixed, sizeof fixed);
    put16(ip + 2, (uint16_t)total);
    put32(ip + 12, host);
    put32(ip + 16, target);
    uint16_t sum = (uint16_t)~checksum_fold(checksum_add(0, ip, IP_BYTES));
    memcpy(ip + 10, &sum, sizeof sum);
}

void frame_build(uint8_t *out, const struct frame_path *path, const struct frame_fields *fields)
{
    size_t options = fields->flags & TCP_SYN ? SYN_OPTION_BYTES : 0;
    size_t tcp_length = TCP_BYTES + options + fields->length;
    memcpy(out, path->target_mac, 6);
    memcpy(out + 6, path->source_mac, 6);
    put16(out + 12, ETHERTYPE_IPV4);
    uint8_t *ip = out + ETHERNET_BYTES;
    build_ip(ip, fields->host, path->target, IP_BYTES + tcp_length);
    uint8_t *tcp = ip + IP_BYTES;
    put16(tcp, fields->port);
    put16(tcp + 2, path->port);
    put32(tcp + 4, fields->sequence);
    put32(tcp + 8, fields->acknowledged);
    tcp[12] = (uint8_t)((TCP_BYTES + options) / 4 << 4);
    tcp[13] = fields->flags;
    put16(tcp + 14, fields->window);
    memset(tcp + 16, 0, 4); /* checksum, urgent pointer */
    if (options) {
        uint8_t syn_options[SYN_OPTION_BYTES] = {2, 4, 0, 0, 1, 3, 3, fields->window_shift};
        put16(syn_options + 2, fields->mss);
        memcpy(tcp + TCP_BYTES, syn_options, sizeof syn_options);
    }
    if (fields->length)
        memcpy(tcp + TCP_BYTES + options, fields->payload, fields->length);
    uint16_t sum = (uint16_t)~tcp_sum(ip, tcp, tcp_length);
    memcpy(tcp + 16, &sum, sizeof sum);
}
