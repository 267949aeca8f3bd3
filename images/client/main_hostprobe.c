/*
 * linkprobe for an emulated host: sends trains of UDP probes from one, or stamps those that reach it, through the host's own link
 * inside the packet engine. The other end is linkprobe, on a kernel's socket; a stamp is taken where the host's TCP would get
 * the frame.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "engine/packet_access.h"
#include "engine/packet_bytes.h"
#include "engine/packet_frame.h"
#include "engine/packet_way.h"
#include "engine/packet_transmit.h"
#include "priority.h"
#include "probe_arrivals.h"
#include "probe_packet.h"
#include "probe_train.h"
#include "program.h"
#include "shape_report.h"
#include "target.h"

enum { UDP_BYTES = 8, PROTOCOL_UDP = 17, LONGEST_SLEEP_MS = 20 };

#define PROBE_HEADERS (ETHERNET_BYTES + IP_BYTES + UDP_BYTES)

struct flags {
    struct target_flags target;
    struct in_addr host;
    bool receive, send, show;
    struct probe_train train;
};

struct prober {
    struct flags flags;
    struct packet_way way;
    struct packet_ring ring;
    struct packet_transmit transmit;
    struct access_plan unshaped;
    struct packet_access *access;
    struct arrivals arrivals;
    uint32_t host;
};

static void on_up(void *owner, const uint8_t *bytes, size_t length)
{
    struct prober *prober = owner;
    uint8_t *frame = transmit_reserve(&prober->transmit, length);
    if (frame)
        memcpy(frame, bytes, length);
}

/* What a kernel would drop is dropped: a bit may have been flipped in a header. */
static void on_down(void *owner, const struct packet_frame *frame)
{
    struct prober *prober = owner;
    const uint8_t *ip = frame->bytes + ETHERNET_BYTES, *udp = ip + IP_BYTES;
    uint16_t ports[2], length, target_port = htons(prober->flags.target.engine.port);
    if (frame->length < PROBE_HEADERS || ip[0] != 0x45 || ip[9] != PROTOCOL_UDP || checksum_fold(checksum_add(0, ip, IP_BYTES)) != 0xffff)
        return;
    memcpy(ports, udp, sizeof ports);
    memcpy(&length, udp + 4, sizeof length);
    if (memcmp(ip + 16, &prober->flags.host, 4) != 0 || ports[1] != target_port || ntohs(length) > frame->length - ETHERNET_BYTES - IP_BYTES ||
        ntohs(length) < UDP_BYTES || udp[6] || udp[7])
        return;
    arrivals_note(&prober->arrivals, udp + UDP_BYTES, ntohs(length) - UDP_BYTES, clock_now_ns());
}

static void send_probe(struct prober *prober, uint32_t sequence)
{
    size_t payload = prober->flags.train.size;
    uint8_t *frame = access_reserve(prober->access, PROBE_HEADERS + payload);
    if (!frame)
        return;
    memcpy(frame, prober->way.gateway_mac, 6);
    memcpy(frame + 6, prober->way.mac, 6);
    put16(frame + 12, 0x0800);
    uint8_t *ip = frame + ETHERNET_BYTES, *udp = ip + IP_BYTES;
    static const uint8_t fixed[12] = {0x45, 0, 0, 0, 0, 0, 0x40 /* do not fragment */, 0, 64, PROTOCOL_UDP, 0, 0};
    memcpy(ip, fixed, sizeof fixed);
    put16(ip + 2, (uint16_t)(IP_BYTES + UDP_BYTES + payload));
    memcpy(ip + 12, &prober->flags.host, 4);
    memcpy(ip + 16, &prober->flags.target.engine.target, 4);
    uint16_t sum = (uint16_t)~checksum_fold(checksum_add(0, ip, IP_BYTES));
    memcpy(ip + 10, &sum, sizeof sum);
    put16(udp, prober->flags.target.engine.port);
    put16(udp + 2, prober->flags.target.engine.port);
    put16(udp + 4, (uint16_t)(UDP_BYTES + payload));
    put16(udp + 6, 0); /* without UDP's own check sum a flipped bit arrives, and is counted */
    uint64_t now = clock_now_ns();
    probe_fill(udp + UDP_BYTES, payload, (uint32_t)prober->flags.train.number, sequence, now);
    access_send(prober->access, frame, prober->host, now);
}

/* Takes in what came, lets go what is due, and sleeps until until_ns or the next of either. 0, or -1 with errno. */
static int turn(struct prober *prober, uint64_t until_ns)
{
    struct packet_frame frame;
    uint64_t now = clock_now_ns();
    access_release(prober->access, now);
    while (ring_next(&prober->ring, &frame)) {
        access_receive(prober->access, &frame, ring_arrival_ns(&prober->ring, &frame, clock_now_ns()));
        ring_release(&prober->ring);
    }
    if (transmit_flush(&prober->transmit, now) < 0)
        return -1;
    uint64_t next = access_next_ns(prober->access);
    if (until_ns < next)
        next = until_ns;
    now = clock_now_ns();
    if (next <= now)
        return 0;
    uint64_t left = next - now < LONGEST_SLEEP_MS * NS_PER_MS ? next - now : LONGEST_SLEEP_MS * NS_PER_MS;
    struct timespec timeout = {.tv_nsec = (long)left};
    struct pollfd ready = {.fd = prober->ring.descriptor, .events = POLLIN};
    return ppoll(&ready, 1, &timeout, NULL) < 0 && errno != EINTR ? -1 : 0;
}

static int turn_until(struct prober *prober, uint64_t until_ns)
{
    while (!program_stopped && clock_now_ns() < until_ns)
        if (turn(prober, until_ns) < 0)
            return -1;
    return 0;
}

static int run_sender(struct prober *prober)
{
    const struct probe_train *train = &prober->flags.train;
    for (int i = 0; i < PROBE_WARM_UPS; i++) {
        send_probe(prober, PROBE_WARM_UP);
        if (turn_until(prober, clock_now_ns() + train->settle_ns / PROBE_WARM_UPS) < 0)
            return -1;
    }
    struct probe_pace pace = {.began_ns = clock_now_ns()};
    while (pace.sent < train->count && !program_stopped) {
        for (uint64_t due = probe_pace_due(&pace, train, clock_now_ns()); pace.sent < due; pace.sent++)
            send_probe(prober, (uint32_t)pace.sent);
        if (turn(prober, probe_pace_next_ns(&pace, train)) < 0)
            return -1;
    }
    pace.ended_ns = clock_now_ns();
    while (!program_stopped && (access_held(prober->access) || transmit_waiting(&prober->transmit)))
        if (turn(prober, clock_now_ns() + NS_PER_MS) < 0)
            return -1;
    pace.refused = prober->transmit.drops + access_no_room(prober->access, LINK_UP);
    struct json json;
    probe_pace_write(&pace, train, &json);
    json_object_open(&json, "links");
    access_counters(prober->access, &json);
    json_object_close(&json);
    json_end(&json, STDOUT_FILENO);
    return 0;
}

static int run_receiver(struct prober *prober)
{
    while (!program_stopped)
        if (turn(prober, UINT64_MAX) < 0)
            return -1;
    ring_count_drops(&prober->ring);
    prober->arrivals.dropped = prober->ring.drops + access_no_room(prober->access, LINK_DOWN);
    arrivals_write(&prober->arrivals, STDOUT_FILENO);
    return 0;
}

static const char *parse_host(const char *text, void *target)
{
    return inet_pton(AF_INET, text, target) == 1 ? NULL : "an IPv4 address";
}

static void parse_flags(int argc, char **argv, struct flags *flags)
{
    const struct option_spec specs[] = {
        TARGET_OPTIONS(&flags->target),
        {.name = "host", .kind = OPTION_CUSTOM, .target = &flags->host, .value = "ADDR", .parse = parse_host,
         .help = "which of the emulated hosts", .required = true},
        {.name = "receive", .kind = OPTION_SWITCH, .target = &flags->receive, .help = "stamp what arrives, until SIGTERM"},
        {.name = "send", .kind = OPTION_SWITCH, .target = &flags->send, .help = "send a train, then end"},
        {.name = "show", .kind = OPTION_SWITCH, .target = &flags->show, .help = "say which link the host has, and end"},
        PROBE_TRAIN_OPTIONS(&flags->train),
        {0},
    };
    options_parse(argc, argv, "measures one direction of an emulated host's own link with UDP probes", specs);
    target_check(&flags->target, 16384, 2048);
    if (flags->receive + flags->send + flags->show != 1)
        options_fail("one of --receive, --send and --show");
    if (ntohl(flags->host.s_addr) - flags->target.engine.first_host >= flags->target.engine.host_count)
        options_fail("--host: %s is not one of --hosts", inet_ntoa(flags->host));
}

static int open_all(struct prober *prober, char *problem, size_t room)
{
    const struct engine_settings *settings = &prober->flags.target.engine;
    static struct access_kind nothing;
    nothing = access_unshaped();
    prober->unshaped = (struct access_plan){.kinds = &nothing, .count = 1};
    prober->host = ntohl(prober->flags.host.s_addr);
    if (way_resolve(&prober->way, settings, problem, room) < 0)
        return -1;
    struct access_settings access = {.plan = settings->access ? settings->access : &prober->unshaped,
                                     .seed = settings->access_seed,
                                     .first_host = settings->first_host,
                                     .host_count = settings->host_count,
                                     .most_payload = PROBE_MOST_BYTES};
    struct access_outlets outlets = {.up = on_up, .down = on_down, .owner = prober};
    prober->access = access_open(&access, &outlets, clock_now_ns());
    if (prober->access && arrivals_open(&prober->arrivals, (uint32_t)prober->flags.train.number, prober->flags.train.size, prober->flags.train.most) == 0 &&
        transmit_open(&prober->transmit, prober->way.interface) == 0 &&
        ring_open(&prober->ring, prober->way.interface, prober->host, 1, settings->ring_frames, settings->ring_frame_bytes) == 0)
        return 0;
    snprintf(problem, room, "packet sockets and memory: %s", strerror(errno));
    return -1;
}

static void report_ready(const struct prober *prober)
{
    struct json json;
    json_line(&json, "ready");
    json_uint(&json, "train", prober->flags.train.number);
    json_uint(&json, "now_ns", clock_now_ns());
    for (int i = 0; i < LINK_DIRECTIONS; i++)
        shape_write(&json, link_direction_names[i], access_shape(prober->access, prober->host, i));
    json_end(&json, STDOUT_FILENO);
}

int main(int argc, char **argv)
{
    static struct prober prober = {
        .ring = {.descriptor = -1},
        .transmit = {.descriptor = -1},
    };
    char problem[256];
    prober.flags.target = target_defaults();
    prober.flags.target.port = 7077;
    prober.flags.train = probe_train_defaults();
    parse_flags(argc, argv, &prober.flags);
    program_prepare();
    priority_raise(2);
    if (open_all(&prober, problem, sizeof problem) < 0)
        return program_error(problem);
    if (!prober.flags.send)
        report_ready(&prober);
    int status = prober.flags.show ? 0 : (prober.flags.send ? run_sender(&prober) : run_receiver(&prober)) < 0 ? program_error(strerror(errno)) : 0;
    access_close(prober.access);
    ring_close(&prober.ring);
    transmit_close(&prober.transmit);
    arrivals_close(&prober.arrivals);
    target_free(&prober.flags.target);
    return status;
}
