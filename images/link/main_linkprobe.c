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
#include "probe_train.h"

#define BATCH 32
#define BUFFER (16 << 20)

struct settings {
    bool receive, send;
    const char *address;
    uint64_t port;
    struct probe_train train;
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
static uint64_t send_due(int descriptor, const struct probe_train *train, uint64_t from, uint64_t to)
{
    static unsigned char payloads[BATCH][PROBE_MOST_BYTES];
    uint64_t refused = 0;
    while (from < to) {
        unsigned batch = to - from < BATCH ? (unsigned)(to - from) : BATCH;
        struct mmsghdr messages[BATCH];
        struct iovec parts[BATCH];
        for (unsigned i = 0; i < batch; i++) {
            probe_fill(payloads[i], train->size, (uint32_t)train->number, (uint32_t)(from + i), clock_now_ns());
            parts[i] = (struct iovec){.iov_base = payloads[i], .iov_len = train->size};
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
    const struct probe_train *train = &settings->train;
    int descriptor = sending_socket(settings);
    unsigned char payload[PROBE_MOST_BYTES] = {0};
    for (int i = 0; i < PROBE_WARM_UPS && !ended; i++) {
        probe_fill(payload, train->size, (uint32_t)train->number, PROBE_WARM_UP, clock_now_ns());
        if (send(descriptor, payload, train->size, 0) < 0 && errno != ENOBUFS && errno != ECONNREFUSED)
            fail("send");
        sleep_until(clock_now_ns() + train->settle_ns / PROBE_WARM_UPS);
    }
    struct probe_pace pace = {.began_ns = clock_now_ns()};
    while (pace.sent < train->count && !ended) {
        uint64_t due = probe_pace_due(&pace, train, clock_now_ns());
        pace.refused += send_due(descriptor, train, pace.sent, due);
        pace.sent = due;
        sleep_until(probe_pace_next_ns(&pace, train));
    }
    pace.ended_ns = clock_now_ns();
    struct json json;
    probe_pace_write(&pace, train, &json);
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
    if (arrivals_open(&arrivals, (uint32_t)settings->train.number, settings->train.size, settings->train.most) != 0)
        fail("memory for the arrivals");
    int descriptor = receiving_socket(settings);
    struct json json;
    json_line(&json, "ready");
    json_uint(&json, "train", settings->train.number);
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
    static struct settings settings = {.port = 7077};
    settings.train = probe_train_defaults();
    const struct option_spec specs[] = {
        {"receive", OPTION_SWITCH, &settings.receive, NULL, "stamp what arrives, until SIGTERM", .required = false},
        {"send", OPTION_SWITCH, &settings.send, NULL, "send a train, then end", .required = false},
        {"address", OPTION_TEXT, &settings.address, "ADDR", "to send to, or to receive on", .required = true},
        {"port", OPTION_COUNT, &settings.port, "N", "UDP port", .low = 1, .high = 65535},
        PROBE_TRAIN_OPTIONS(&settings.train),
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
