/*
 * Probes of a link, one direction: `--send` paces a train of UDP packets, `--receive` stamps each as it arrives.
 *
 * Both stamps are CLOCK_MONOTONIC, which all namespaces and containers of a machine share: delays are one-way. The
 * receiver's stamp is taken when the packet reaches the socket. The kernel's own receive stamp would not do: it is
 * taken when the packet leaves the device, before netfilter, and would not see a shape on the receiver's side.
 */
#define _GNU_SOURCE /* sendmmsg, recvmmsg */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "json.h"
#include "options.h"
#include "priority.h"
#include "probe_packet.h"

#define MAX_PAYLOAD 1472
#define BATCH 32
#define BUFFER (16 << 20)
#define WARM_UPS 3

struct settings {
    bool receive, send;
    const char *address;
    uint64_t port, train, count, size, interval_ns, settle_ns, most;
};

struct arrival {
    uint32_t sequence;
    uint64_t sent_ns, arrived_ns;
};

struct arrivals {
    struct arrival *list;
    uint64_t count, room, corrupted, foreign, beyond, dropped;
};

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
    (void)number;
    ended = 1;
}

__attribute__((noreturn)) static void fail(const char *what)
{
    char message[320];
    snprintf(message, sizeof message, "%s: %s", what, strerror(errno));
    struct json json;
    json_line(&json, "error");
    json_string(&json, "message", message);
    json_end(&json, STDOUT_FILENO);
    fprintf(stderr, "linkprobe: %s\n", message);
    exit(1);
}

static struct sockaddr_in address_of(const struct settings *settings)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)settings->port)};
    if (inet_pton(AF_INET, settings->address, &address.sin_addr) != 1)
        options_fail("--address: '%s' is not an IPv4 address", settings->address);
    return address;
}

static void sleep_until(uint64_t when_ns)
{
    struct timespec time = {.tv_sec = (time_t)(when_ns / NS_PER_S), .tv_nsec = (long)(when_ns % NS_PER_S)};
    while (!ended && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR)
        ;
}

static void fill(unsigned char *payload, const struct settings *settings, uint32_t sequence)
{
    struct probe_packet packet = {
        .magic = PROBE_MAGIC, .train = (uint32_t)settings->train, .sequence = sequence, .sent_ns = clock_now_ns()};
    memcpy(payload, &packet, sizeof packet);
    packet.sum = probe_sum(payload, settings->size);
    memcpy(payload, &packet, sizeof packet);
}

static int sending_socket(const struct settings *settings)
{
    int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int one = 1, room = BUFFER;
    struct sockaddr_in address = address_of(settings);
    if (descriptor < 0)
        fail("socket");
    /* Without UDP's own check sum a flipped bit arrives, and is counted, instead of being dropped by the kernel. */
    if (setsockopt(descriptor, SOL_SOCKET, SO_NO_CHECK, &one, sizeof one) != 0)
        fail("SO_NO_CHECK");
    if (setsockopt(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room) != 0)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    if (connect(descriptor, (struct sockaddr *)&address, sizeof address) != 0)
        fail("connect");
    return descriptor;
}

/* Sends all packets that are due, in batches; returns how many the kernel refused. */
static uint64_t send_due(int descriptor, const struct settings *settings, uint64_t from, uint64_t to)
{
    static unsigned char payloads[BATCH][MAX_PAYLOAD];
    uint64_t refused = 0;
    while (from < to) {
        unsigned batch = to - from < BATCH ? (unsigned)(to - from) : BATCH;
        struct mmsghdr messages[BATCH];
        struct iovec parts[BATCH];
        for (unsigned i = 0; i < batch; i++) {
            fill(payloads[i], settings, (uint32_t)(from + i));
            parts[i] = (struct iovec){.iov_base = payloads[i], .iov_len = settings->size};
            messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
        }
        int sent = sendmmsg(descriptor, messages, batch, 0);
        if (sent < 0) {
            if (errno == EINTR)
                continue;
            if (errno != ENOBUFS && errno != ECONNREFUSED)
                fail("send");
            refused++;
            sent = 1;
        }
        from += (uint64_t)sent;
    }
    return refused;
}

static void run_sender(const struct settings *settings)
{
    int descriptor = sending_socket(settings);
    unsigned char payload[MAX_PAYLOAD] = {0};
    for (int i = 0; i < WARM_UPS && !ended; i++) {
        fill(payload, settings, PROBE_WARM_UP);
        if (send(descriptor, payload, settings->size, 0) < 0 && errno != ENOBUFS && errno != ECONNREFUSED)
            fail("send");
        sleep_until(clock_now_ns() + settings->settle_ns / WARM_UPS);
    }
    uint64_t began = clock_now_ns(), sent = 0, refused = 0, latest = 0;
    while (sent < settings->count && !ended) {
        uint64_t now = clock_now_ns();
        uint64_t due = settings->interval_ns ? (now - began) / settings->interval_ns + 1 : settings->count;
        if (due > settings->count)
            due = settings->count;
        uint64_t late = now - (began + sent * settings->interval_ns);
        if (late > latest && due > sent)
            latest = late;
        refused += send_due(descriptor, settings, sent, due);
        sent = due > sent ? due : sent;
        sleep_until(began + sent * settings->interval_ns);
    }
    struct json json;
    json_line(&json, "summary");
    json_uint(&json, "train", settings->train);
    json_uint(&json, "sent", sent);
    json_uint(&json, "refused", refused);
    json_uint(&json, "began_ns", began);
    json_uint(&json, "ended_ns", clock_now_ns());
    json_uint(&json, "late_max_ns", latest);
    json_end(&json, STDOUT_FILENO);
    close(descriptor);
}

static int receiving_socket(const struct settings *settings)
{
    int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1, room = BUFFER;
    struct sockaddr_in address = address_of(settings);
    if (descriptor < 0)
        fail("socket");
    if (setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) != 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    setsockopt(descriptor, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof one);
    if (bind(descriptor, (struct sockaddr *)&address, sizeof address) != 0)
        fail("bind");
    return descriptor;
}

static void note(struct arrivals *arrivals, const struct settings *settings, const unsigned char *payload, size_t length,
                 uint64_t now)
{
    struct probe_packet packet;
    if (length != settings->size) {
        arrivals->foreign++;
        return;
    }
    memcpy(&packet, payload, sizeof packet);
    if (packet.sum != probe_sum(payload, length)) {
        arrivals->corrupted++;
        return;
    }
    if (packet.magic != PROBE_MAGIC || packet.train != (uint32_t)settings->train) {
        arrivals->foreign++;
        return;
    }
    if (packet.sequence == PROBE_WARM_UP)
        return;
    if (arrivals->count == arrivals->room) {
        arrivals->beyond++;
        return;
    }
    arrivals->list[arrivals->count++] =
        (struct arrival){.sequence = packet.sequence, .sent_ns = packet.sent_ns, .arrived_ns = now};
}

/* The kernel's count of packets that found the socket's buffer full comes beside each packet. */
static void note_drops(struct arrivals *arrivals, struct msghdr *header)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part; part = CMSG_NXTHDR(header, part)) {
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SO_RXQ_OVFL) {
            uint32_t dropped;
            memcpy(&dropped, CMSG_DATA(part), sizeof dropped);
            arrivals->dropped = dropped;
        }
    }
}

static void read_all(int descriptor, const struct settings *settings, struct arrivals *arrivals)
{
    static unsigned char payloads[BATCH][MAX_PAYLOAD + 1];
    for (;;) {
        struct mmsghdr messages[BATCH];
        struct iovec parts[BATCH];
        union {
            struct cmsghdr align;
            unsigned char room[CMSG_SPACE(sizeof(uint32_t))];
        } controls[BATCH];
        for (int i = 0; i < BATCH; i++) {
            parts[i] = (struct iovec){.iov_base = payloads[i], .iov_len = sizeof payloads[i]};
            messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i],
                                                       .msg_iovlen = 1,
                                                       .msg_control = &controls[i],
                                                       .msg_controllen = sizeof controls[i]}};
        }
        int count = recvmmsg(descriptor, messages, BATCH, MSG_DONTWAIT, NULL);
        uint64_t now = clock_now_ns();
        if (count < 0 && errno != EAGAIN && errno != EINTR)
            fail("receive");
        if (count <= 0)
            return;
        for (int i = 0; i < count; i++) {
            note(arrivals, settings, payloads[i], messages[i].msg_len, now);
            note_drops(arrivals, &messages[i].msg_hdr);
        }
    }
}

static void write_arrivals(const struct settings *settings, const struct arrivals *arrivals)
{
    struct json json;
    json_line(&json, "summary");
    json_uint(&json, "train", settings->train);
    json_uint(&json, "received", arrivals->count);
    json_uint(&json, "corrupted", arrivals->corrupted);
    json_uint(&json, "foreign", arrivals->foreign);
    json_uint(&json, "beyond", arrivals->beyond);
    json_uint(&json, "dropped", arrivals->dropped);
    uint64_t base = arrivals->count ? arrivals->list[0].sent_ns : 0;
    json_uint(&json, "base_ns", base);
    json_array_open(&json, "sequence");
    for (uint64_t i = 0; i < arrivals->count; i++)
        json_uint(&json, NULL, arrivals->list[i].sequence);
    json_array_close(&json);
    json_array_open(&json, "sent_ns");
    for (uint64_t i = 0; i < arrivals->count; i++)
        json_int(&json, NULL, (int64_t)(arrivals->list[i].sent_ns - base));
    json_array_close(&json);
    json_array_open(&json, "arrived_ns");
    for (uint64_t i = 0; i < arrivals->count; i++)
        json_int(&json, NULL, (int64_t)(arrivals->list[i].arrived_ns - base));
    json_array_close(&json);
    json_end(&json, STDOUT_FILENO);
}

static void run_receiver(const struct settings *settings, const sigset_t *open_mask)
{
    struct arrivals arrivals = {.room = settings->most};
    arrivals.list = calloc(arrivals.room, sizeof *arrivals.list);
    if (!arrivals.list)
        fail("memory for the arrivals");
    int descriptor = receiving_socket(settings);
    struct json json;
    json_line(&json, "ready");
    json_uint(&json, "train", settings->train);
    json_uint(&json, "now_ns", clock_now_ns());
    json_end(&json, STDOUT_FILENO);
    struct pollfd watched = {.fd = descriptor, .events = POLLIN};
    while (!ended) {
        if (ppoll(&watched, 1, NULL, open_mask) < 0 && errno != EINTR)
            fail("ppoll");
        read_all(descriptor, settings, &arrivals);
    }
    write_arrivals(settings, &arrivals);
    close(descriptor);
    free(arrivals.list);
}

int main(int argc, char **argv)
{
    static struct settings settings = {
        .port = 7077, .train = 1, .count = 100, .size = 64, .interval_ns = 1000000, .settle_ns = 60000000, .most = 100000};
    const struct option_spec specs[] = {
        {"receive", OPTION_SWITCH, &settings.receive, NULL, "stamp what arrives, until SIGTERM", .required = false},
        {"send", OPTION_SWITCH, &settings.send, NULL, "send a train, then end", .required = false},
        {"address", OPTION_TEXT, &settings.address, "ADDR", "to send to, or to receive on", .required = true},
        {"port", OPTION_COUNT, &settings.port, "N", "UDP port", .low = 1, .high = 65535},
        {"train", OPTION_COUNT, &settings.train, "N", "which measurement it is", .low = 0, .high = UINT32_MAX},
        {"count", OPTION_COUNT, &settings.count, "N", "packets of the train", .low = 1, .high = 1e7},
        {"size", OPTION_COUNT, &settings.size, "BYTES", "UDP payload, the same for both", .low = sizeof(struct probe_packet), .high = MAX_PAYLOAD},
        {"interval", OPTION_DURATION, &settings.interval_ns, "D", "between packets; 0s: as fast as it goes", .low = 0, .high = 10e9},
        {"settle", OPTION_DURATION, &settings.settle_ns, "D", "for warm-up packets, before the train", .low = 0, .high = 60e9},
        {"most", OPTION_COUNT, &settings.most, "N", "arrivals to keep", .low = 1, .high = 1e7},
        {.name = NULL},
    };
    options_parse(argc, argv, "measures one direction of a link with UDP probes", specs);
    if (settings.receive == settings.send)
        options_fail("one of --receive and --send");
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t blocked, open_mask;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    if (settings.receive) /* so that a signal between two looks at `ended` is not missed */
        sigprocmask(SIG_BLOCK, &blocked, &open_mask);
    priority_raise(2);
    if (settings.receive)
        run_receiver(&settings, &open_mask);
    else
        run_sender(&settings);
    return 0;
}
