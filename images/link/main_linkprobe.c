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
#include "probe_arrivals.h"
#include "probe_packet.h"

#define BATCH 32
#define BUFFER (16 << 20)

struct settings {
    bool receive, send;
    const char *address;
    uint64_t port, train, count, size, interval_ns, settle_ns, most;
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
    static unsigned char payloads[BATCH][PROBE_MOST_BYTES];
    uint64_t refused = 0;
    while (from < to) {
        unsigned batch = to - from < BATCH ? (unsigned)(to - from) : BATCH;
        struct mmsghdr messages[BATCH];
        struct iovec parts[BATCH];
        for (unsigned i = 0; i < batch; i++) {
            probe_fill(payloads[i], settings->size, (uint32_t)settings->train, (uint32_t)(from + i), clock_now_ns());
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
    unsigned char payload[PROBE_MOST_BYTES] = {0};
    for (int i = 0; i < PROBE_WARM_UPS && !ended; i++) {
        probe_fill(payload, settings->size, (uint32_t)settings->train, PROBE_WARM_UP, clock_now_ns());
        if (send(descriptor, payload, settings->size, 0) < 0 && errno != ENOBUFS && errno != ECONNREFUSED)
            fail("send");
        sleep_until(clock_now_ns() + settings->settle_ns / PROBE_WARM_UPS);
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

static void read_all(int descriptor, struct arrivals *arrivals)
{
    static unsigned char payloads[BATCH][PROBE_MOST_BYTES + 1];
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
            arrivals_note(arrivals, payloads[i], messages[i].msg_len, now);
            note_drops(arrivals, &messages[i].msg_hdr);
        }
    }
}

static void run_receiver(const struct settings *settings, const sigset_t *open_mask)
{
    struct arrivals arrivals;
    if (arrivals_open(&arrivals, (uint32_t)settings->train, settings->size, settings->most) != 0)
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
        read_all(descriptor, &arrivals);
    }
    arrivals_write(&arrivals, STDOUT_FILENO);
    close(descriptor);
    arrivals_close(&arrivals);
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
        {"size", OPTION_COUNT, &settings.size, "BYTES", "UDP payload, the same for both", .low = sizeof(struct probe_packet), .high = PROBE_MOST_BYTES},
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
