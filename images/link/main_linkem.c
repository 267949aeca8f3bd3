/* Userspace link emulator: packets that a NFQUEUE rule sends here go on when, and if, the shape says. */
#define _GNU_SOURCE /* ppoll */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "control.h"
#include "held.h"
#include "histogram.h"
#include "json.h"
#include "nfqueue.h"
#include "priority.h"
#include "repeat.h"
#include "shape.h"
#include "shape_options.h"
#include "shape_report.h"

struct counters {
    uint64_t packets, bytes, lost, overflowed, duplicated, corrupted, released, failed_copies;
};

struct emulator {
    const char *label;
    struct nfqueue queue;
    struct shape shape;
    struct link link;
    struct held held;
    struct counters counters;
    struct histogram lateness; /* of what went on, against its intended time */
    uint64_t now_ns;
    int listener, repeater; /* repeater: -1 until a shape needs one */
    const char *priority;
};

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
    (void)number;
    ended = 1;
}

__attribute__((noreturn)) static void fail(const char *what, int error)
{
    char message[320];
    snprintf(message, sizeof message, "%s%s%s", what, error ? ": " : "", error ? strerror(error) : "");
    struct json json;
    json_line(&json, "error");
    json_string(&json, "message", message);
    json_end(&json, STDOUT_FILENO);
    fprintf(stderr, "linkem: %s\n", message);
    exit(1);
}

static enum nfqueue_copy copy_for(const struct shape *shape)
{
    if (shape->duplicate > 0 || shape->corrupt > 0)
        return NFQUEUE_CUT_ALL;
    if (shape->loss > 0 || shape->bursts || shape->reorder > 0 || shape->rate_bps || shape->jitter_ns)
        return NFQUEUE_CUT_HEADER;
    return NFQUEUE_WHOLE_META;
}

static unsigned char *copy_payload(const struct nfqueue_packet *packet)
{
    unsigned char *copy = malloc(packet->payload_length);
    if (!copy)
        fail("memory for a packet", ENOMEM);
    memcpy(copy, packet->payload, packet->payload_length);
    return copy;
}

static void hold(struct emulator *emulator, struct held_packet packet)
{
    if (held_add(&emulator->held, packet) != 0)
        fail("memory for a packet", ENOMEM);
}

static void take(void *context, const struct nfqueue_packet *packet)
{
    struct emulator *emulator = context;
    struct counters *counters = &emulator->counters;
    struct fate fate = link_packet(&emulator->link, emulator->now_ns, packet->length);
    counters->packets++;
    counters->bytes += packet->length;
    if (fate.lost || fate.overflowed) {
        counters->lost += fate.lost;
        counters->overflowed += fate.overflowed;
        if (nfqueue_verdict(&emulator->queue, packet->id, false, NULL, 0) != 0)
            fail("verdict", errno);
        return;
    }
    bool whole = packet->payload && packet->payload_length == packet->length;
    struct held_packet held = {.release_ns = fate.release_ns, .id = packet->id, .length = packet->payload_length};
    if (fate.duplicated && whole) {
        counters->duplicated++;
        hold(emulator, (struct held_packet){.release_ns = fate.release_ns,
                                            .length = packet->payload_length,
                                            .payload = copy_payload(packet),
                                            .again = true});
    }
    if (fate.corrupted && whole && packet->length) {
        counters->corrupted++;
        held.payload = copy_payload(packet);
        uint64_t bit = fate.flipped_bit % ((uint64_t)packet->length * 8);
        held.payload[bit / 8] ^= (unsigned char)(1u << (bit % 8));
    }
    hold(emulator, held);
}

static void release(struct emulator *emulator, const struct held_packet *packet)
{
    if (packet->again) {
        if (repeat_send(emulator->repeater, packet->payload, packet->length) != 0)
            emulator->counters.failed_copies++;
        return;
    }
    emulator->counters.released++;
    if (nfqueue_verdict(&emulator->queue, packet->id, true, packet->payload, packet->length) != 0)
        fail("verdict", errno);
}

static void release_due(struct emulator *emulator, uint64_t until_ns)
{
    while (emulator->held.count && held_next_ns(&emulator->held) <= until_ns) {
        struct held_packet packet = held_take(&emulator->held);
        if (until_ns != UINT64_MAX)
            histogram_record(&emulator->lateness, emulator->now_ns - packet.release_ns);
        release(emulator, &packet);
        free(packet.payload);
    }
    if (nfqueue_flush(&emulator->queue) != 0)
        fail("verdicts", errno);
}

/* What the kernel dropped before we saw it: its queue was full, or our socket. */
static void kernel_drops(uint16_t number, uint64_t *full, uint64_t *unread)
{
    *full = *unread = 0;
    FILE *file = fopen("/proc/net/netfilter/nfnetlink_queue", "re");
    if (!file)
        return;
    unsigned queue, port, total, mode, range;
    unsigned long long dropped, user_dropped;
    while (fscanf(file, "%u %u %u %u %u %llu %llu %*u %*u", &queue, &port, &total, &mode, &range, &dropped,
                  &user_dropped) == 7) {
        if (queue == number) {
            *full = dropped;
            *unread = user_dropped;
        }
    }
    fclose(file);
}

static void write_state(const struct emulator *emulator, const char *type, int descriptor)
{
    const struct counters *counters = &emulator->counters;
    uint64_t full, unread;
    kernel_drops(emulator->queue.number, &full, &unread);
    struct json json;
    json_line(&json, type);
    json_uint(&json, "queue", emulator->queue.number);
    json_string(&json, "label", emulator->label);
    json_int(&json, "pid", getpid());
    json_uint(&json, "now_ns", clock_now_ns());
    json_string(&json, "priority", emulator->priority);
    shape_write(&json, "shape", &emulator->shape);
    json_uint(&json, "packets", counters->packets);
    json_uint(&json, "bytes", counters->bytes);
    json_uint(&json, "held", emulator->held.count);
    json_uint(&json, "released", counters->released);
    json_uint(&json, "lost", counters->lost);
    json_uint(&json, "overflowed", counters->overflowed);
    json_uint(&json, "duplicated", counters->duplicated);
    json_uint(&json, "corrupted", counters->corrupted);
    json_uint(&json, "failed_copies", counters->failed_copies);
    json_uint(&json, "kernel_dropped_full", full);
    json_uint(&json, "kernel_dropped_unread", unread);
    json_uint(&json, "late_p50_ns", histogram_quantile(&emulator->lateness, 0.5));
    json_uint(&json, "late_p99_ns", histogram_quantile(&emulator->lateness, 0.99));
    json_uint(&json, "late_max_ns", emulator->lateness.max);
    histogram_write_coarse(&json, "late_counts", &emulator->lateness);
    json_uint(&json, "cpu_us", clock_cpu_ns() / NS_PER_US);
    json_end(&json, descriptor);
}

static const char *prepare(struct emulator *emulator, const struct shape *shape)
{
    if (shape->duplicate > 0 && emulator->repeater < 0) {
        emulator->repeater = repeat_open();
        if (emulator->repeater < 0)
            return errno == EPERM ? "duplicate needs NET_RAW, and net.ipv4.conf.{all,lo}.rp_filter not 1" : strerror(errno);
    }
    if (nfqueue_set_copy(&emulator->queue, copy_for(shape)) != 0)
        return strerror(errno);
    return NULL;
}

static void answer(struct emulator *emulator)
{
    struct request request;
    int asker = control_accept(emulator->listener, &request);
    if (asker < 0)
        return;
    const char *problem = NULL;
    if (request.kind == REQUEST_CHANGE) {
        problem = prepare(emulator, &request.shape);
        if (!problem) {
            emulator->shape = request.shape;
            link_change(&emulator->link, &emulator->shape, emulator->shape.seed);
        }
    } else if (request.kind == REQUEST_STOP) {
        release_due(emulator, UINT64_MAX);
        ended = 1;
    }
    if (problem) {
        struct json json;
        json_line(&json, "error");
        json_string(&json, "message", problem);
        json_end(&json, asker);
    } else {
        write_state(emulator, "state", asker);
    }
    close(asker);
}

static void run(struct emulator *emulator, const sigset_t *open_mask)
{
    struct pollfd watched[] = {{.fd = emulator->queue.socket, .events = POLLIN}, {.fd = emulator->listener, .events = POLLIN}};
    while (!ended) {
        uint64_t next = held_next_ns(&emulator->held);
        emulator->now_ns = clock_now_ns();
        uint64_t pause = next > emulator->now_ns ? next - emulator->now_ns : 0;
        struct timespec timeout = {.tv_sec = (time_t)(pause / NS_PER_S), .tv_nsec = (long)(pause % NS_PER_S)};
        int ready = ppoll(watched, 2, next == UINT64_MAX ? NULL : &timeout, open_mask);
        if (ready < 0 && errno != EINTR)
            fail("ppoll", errno);
        emulator->now_ns = clock_now_ns();
        release_due(emulator, emulator->now_ns);
        if (ready > 0 && watched[0].revents && nfqueue_read(&emulator->queue, take, emulator) != 0)
            fail("packet queue", errno);
        if (ready > 0 && watched[1].revents)
            answer(emulator);
        if (!ended)
            release_due(emulator, emulator->now_ns);
    }
}

static void block_signals(sigset_t *open_mask)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t blocked;
    sigemptyset(&blocked);
    for (const int *signal = (const int[]){SIGTERM, SIGINT, 0}; *signal; signal++) {
        sigaddset(&blocked, *signal);
        sigaction(*signal, &action, NULL);
    }
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &blocked, open_mask);
    sigdelset(open_mask, SIGTERM);
    sigdelset(open_mask, SIGINT);
}

/* Ready beforehand, so that neither a container nor a program has to be started when the moment comes. */
static void wait_until(uint64_t at_ns)
{
    priority_raise(1);
    struct json json;
    json_line(&json, "waiting");
    json_uint(&json, "now_ns", clock_now_ns());
    json_end(&json, STDOUT_FILENO);
    const struct timespec moment = {.tv_sec = (time_t)(at_ns / NS_PER_S), .tv_nsec = (long)(at_ns % NS_PER_S)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &moment, NULL) == EINTR)
        continue;
}

int main(int argc, char **argv)
{
    static const char *const questions[] = {"show", "change", "stop", NULL};
    static struct emulator emulator = {.label = "", .listener = -1, .repeater = -1};
    uint64_t queue = 0, most_held = 262144, at_ns = 0;
    const char *question = NULL;
    struct shape_options shape = {0};
    struct option_spec specs[SHAPE_OPTIONS + 6] = {
        {"queue", OPTION_COUNT, &queue, "N", "number of the packet queue", .low = 0, .high = 65535, .required = true},
        {"label", OPTION_TEXT, &emulator.label, "TEXT", "whose link it is, given back by show", .required = false},
        {"held", OPTION_COUNT, &most_held, "N", "packets that the kernel may hold for us", .low = 1, .high = 1 << 24},
        {"ask", OPTION_CHOICE, &question, "WHAT", "ask the linkem that runs on the queue instead; stop lets go what waits", .choices = questions},
        {"at", OPTION_COUNT, &at_ns, "NS", "with --ask: ready now, and ask at this time of CLOCK_MONOTONIC", .low = 0, .high = 9e18},
    };
    shape_options_specs(&shape, specs + 5);
    options_parse(argc, argv, "delays, loses, repeats and limits packets of a NFQUEUE rule", specs);
    const char *contradiction = shape_options_finish(&shape);
    if (contradiction)
        options_fail("%s", contradiction);
    if (at_ns && !question)
        options_fail("--at is for --ask only");
    if (question) {
        if (at_ns)
            wait_until(at_ns);
        enum request_kind kind = question[0] == 'c' ? REQUEST_CHANGE : question[1] == 'h' ? REQUEST_SHOW : REQUEST_STOP;
        struct request request = {.size = sizeof request, .kind = kind, .shape = shape.shape};
        if (control_ask((uint16_t)queue, &request) != 0)
            fail("nobody answers on this queue", errno);
        return 0;
    }
    sigset_t open_mask;
    block_signals(&open_mask);
    emulator.priority = priority_raise(1);
    emulator.listener = control_listen((uint16_t)queue);
    if (emulator.listener < 0)
        fail("control socket of the queue", errno);
    emulator.shape = shape.shape;
    link_init(&emulator.link, &emulator.shape, emulator.shape.seed);
    if (nfqueue_open(&emulator.queue, (uint16_t)queue, (uint32_t)most_held) != 0)
        fail("packet queue", errno);
    const char *problem = prepare(&emulator, &shape.shape);
    if (problem)
        fail(problem, 0);
    write_state(&emulator, "ready", STDOUT_FILENO);
    run(&emulator, &open_mask);
    write_state(&emulator, "summary", STDOUT_FILENO);
    nfqueue_close(&emulator.queue);
    held_free(&emulator.held);
    link_free(&emulator.link);
    return 0;
}
