/*
 * The emulated hosts' own links without a network and with a clock of the test's: the calendar of held frames, frames that are
 * cut, who gets which link, and what a link then does. Built and run by test_client_units.py; a failed assertion is a failed
 * test.
 */
#define _GNU_SOURCE
#undef NDEBUG
#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "engine/packet_access.h"
#include "engine/packet_cut.h"
#include "engine/packet_frame.h"
#include "random.h"

enum { NODES = 2000, HOSTS = 1000, FIRST_HOST = 0x0a4d4001 };

#define SLOT_NS (1ull << CALENDAR_SHIFT)

static struct random_state random_numbers = {.state = 1};

/* Every node comes once, at most half a slot early, and not later than the first look after its time; equals in order. */
static void test_calendar(void)
{
    static struct calendar calendar;
    static struct held_node nodes[NODES];
    static const uint64_t spans[] = {1, 100000, 40000000, 900000000, 5000000000};
    uint64_t now = 777777777777ull, last_look = now;
    uint32_t added = 0, taken = 0;
    calendar_start(&calendar, now);
    while (taken < NODES) {
        for (int i = 0; i < 5 && added < NODES; i++, added++) {
            nodes[added].release_ns = now + random_next(&random_numbers) % spans[random_next(&random_numbers) % 5];
            calendar_add(&calendar, &nodes[added]);
            assert(calendar_next_ns(&calendar) <= nodes[added].release_ns + 2 * SLOT_NS);
        }
        last_look = now;
        now += random_next(&random_numbers) % (taken % 97 == 0 ? 3000000000u : 2000000u);
        for (struct held_node *node; (node = calendar_take(&calendar, now)); taken++) {
            assert(node->release_ns && node->release_ns <= now + SLOT_NS / 2);
            assert(node->release_ns + 2 * SLOT_NS > last_look);
            node->release_ns = 0;
        }
    }
    assert(calendar_next_ns(&calendar) == UINT64_MAX && !calendar_take(&calendar, UINT64_MAX));
    for (int i = 0; i < 10; i++) {
        nodes[i].release_ns = now + 5000;
        calendar_add(&calendar, &nodes[i]);
    }
    for (int i = 0; i < 10; i++)
        assert(calendar_take(&calendar, UINT64_MAX) == &nodes[i]);
}

static size_t build(uint8_t *out, uint32_t sequence, const uint8_t *payload, uint32_t length)
{
    const struct frame_path path = {.target = 0x0a630001, .port = 8080};
    struct frame_fields fields = {.host = FIRST_HOST, .port = 999, .sequence = sequence, .acknowledged = 5, .window = 7, .payload = payload,
                                  .length = length, .flags = TCP_ACK | TCP_PSH | TCP_FIN};
    frame_build(out, &path, &fields);
    return frame_size(&fields);
}

/* The pieces of a frame carry its bytes in order, and only the last one its FIN. */
static void test_cut(void)
{
    static uint8_t payload[9000], whole[10000], piece[2000];
    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = (uint8_t)random_next(&random_numbers);
    for (uint32_t length = 0; length <= sizeof payload; length += 499) {
        struct packet_frame frame = {.bytes = whole, .length = build(whole, UINT32_MAX - 100, payload, length), .checksum_known = true};
        uint32_t count = cut_count(&frame, 1460), at = 0;
        assert(count == (length <= 1460 ? 1 : (length + 1459) / 1460));
        for (uint32_t i = 0; count > 1 && i < count; i++) {
            struct segment segment;
            size_t size = cut_build(&frame, 1460, i, piece);
            assert(size <= cut_room(&frame, 1460) && frame_parse(piece, size, true, &segment) == FRAME_SEGMENT);
            assert(segment.sequence == UINT32_MAX - 100 + at && memcmp(segment.payload, payload + at, segment.length) == 0);
            assert(!(segment.flags & TCP_FIN) == (i + 1 < count) && segment.acknowledged == 5 && segment.window == 7);
            at += segment.length;
        }
        assert(count == 1 || at == length);
        frame.checksum_known = false;
        assert(cut_count(&frame, 1460) == 1);
    }
}

static struct access_plan plan_of(const char *text)
{
    struct access_plan plan;
    char *copy = strdup(text), problem[1400];
    if (!access_plan_parse(&plan, copy, strlen(copy), problem, sizeof problem)) {
        fprintf(stderr, "%s\n", problem);
        abort();
    }
    free(copy);
    return plan;
}

/* Each kind gets its share to within one host; the seed alone decides who. */
static void test_assignment(void)
{
    struct access_plan plan = plan_of("# kinds\n0.6 down delay 1ms\n\n0.3 up delay 2ms loss 0.5\r\n0.1\n");
    uint32_t *kinds = access_plan_assign(&plan, HOSTS + 3, 9), *again = access_plan_assign(&plan, HOSTS + 3, 9);
    uint32_t *others = access_plan_assign(&plan, HOSTS + 3, 10);
    int counts[3] = {0}, moved = 0;
    for (int i = 0; i < HOSTS + 3; i++) {
        counts[kinds[i]]++;
        moved += kinds[i] != others[i];
    }
    assert(abs(counts[0] - 602) <= 1 && abs(counts[1] - 301) <= 1 && abs(counts[2] - 100) <= 1);
    assert(memcmp(kinds, again, (HOSTS + 3) * sizeof *kinds) == 0 && moved > 100);
    free(kinds);
    free(again);
    free(others);
    access_plan_free(&plan);
}

struct outcome {
    uint64_t now_ns, came, latest_ns;
    uint32_t last_sequence;
    bool overtaken;
};

static void on_up(void *owner, const uint8_t *bytes, size_t length)
{
    struct outcome *outcome = owner;
    struct segment segment;
    assert(frame_parse(bytes, length, false, &segment) == FRAME_SEGMENT);
    outcome->overtaken |= outcome->came && segment.sequence < outcome->last_sequence;
    outcome->last_sequence = segment.sequence;
    outcome->latest_ns = outcome->now_ns;
    outcome->came++;
}

static void on_down(void *owner, const struct packet_frame *frame)
{
    on_up(owner, frame->bytes, frame->length);
}

/* Sends `count` frames up the link of the first host, one each `gap_ns`, and lets all of them arrive. */
static struct outcome carry(const char *text, uint32_t count, uint64_t gap_ns, uint32_t payload_length)
{
    static const uint8_t payload[1400];
    struct access_plan plan = plan_of(text);
    struct outcome outcome = {.now_ns = NS_PER_S};
    struct access_settings settings = {.plan = &plan, .seed = 3, .first_host = FIRST_HOST, .host_count = 4, .most_payload = 1460};
    struct packet_access *access = access_open(&settings, &(struct access_outlets){on_up, on_down, &outcome}, outcome.now_ns);
    assert(access && access_next_ns(access) == UINT64_MAX);
    for (uint32_t i = 0; i < count; i++, outcome.now_ns += gap_ns) {
        access_release(access, outcome.now_ns);
        uint8_t *frame = access_reserve(access, HEADER_BYTES + payload_length);
        assert(frame);
        build(frame, i, payload, payload_length);
        access_send(access, frame, FIRST_HOST, outcome.now_ns);
    }
    while (access_held(access)) {
        outcome.now_ns = access_next_ns(access);
        access_release(access, outcome.now_ns);
    }
    access_close(access);
    access_plan_free(&plan);
    return outcome;
}

static void test_links(void)
{
    struct outcome outcome = carry("1", 100, 0, 10);
    assert(outcome.came == 100 && outcome.latest_ns == NS_PER_S && !outcome.overtaken);
    outcome = carry("1 up delay 40ms", 100, 1000, 10);
    assert(outcome.came == 100 && !outcome.overtaken);
    assert(outcome.latest_ns > NS_PER_S + 40 * NS_PER_MS && outcome.latest_ns < NS_PER_S + 40 * NS_PER_MS + 200000);
    outcome = carry("1 up delay 3s", 3, 1000, 10); /* beyond the calendar */
    assert(outcome.came == 3 && outcome.latest_ns >= NS_PER_S + 3000 * NS_PER_MS - SLOT_NS);
    outcome = carry("1 up delay 20ms jitter 10ms", 1000, 100000, 10);
    assert(outcome.came == 1000 && outcome.overtaken);
    outcome = carry("1 up loss 0.1 duplicate 0.1", 10000, 1000, 10);
    assert(outcome.came > 9700 && outcome.came < 10100); /* 0.9 x 1.1 of them */
    outcome = carry("1 up rate 8000000 limit 10", 100, 0, 946); /* 1000 bytes each: one is sent, ten wait */
    assert(outcome.came == 11 && !outcome.overtaken);
    assert(outcome.latest_ns > NS_PER_S + 11 * NS_PER_MS - SLOT_NS && outcome.latest_ns < NS_PER_S + 11 * NS_PER_MS + 2 * SLOT_NS);
    assert(carry("1 down delay 5s", 10, 0, 10).latest_ns == NS_PER_S);
}

int main(void)
{
    test_calendar();
    test_cut();
    test_assignment();
    test_links();
    puts("all links passed");
    return 0;
}
