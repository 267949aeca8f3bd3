#include "engine/packet_access.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "engine/packet_cut.h"
#include "engine/packet_frame.h"

enum {
    MOST_HELD = 1 << 20,
    BLOCK_BYTES = 1 << 16,
    LATE_NS = 1000000,
    VERY_LATE_NS = 10000000,
};

static const uint32_t pool_bytes[] = {256, 2048}; /* of a frame; larger ones are allocated one by one */
enum { POOLS = sizeof pool_bytes / sizeof *pool_bytes };

struct held_frame {
    struct held_node node; /* first: the calendar hands out its address */
    uint32_t length;
    uint8_t pool, direction;
    bool checksum_known;
    uint8_t bytes[];
};

struct block {
    struct block *next;
};

struct host_links {
    struct link links[LINK_DIRECTIONS]; /* without a shape until its first frame */
};

struct direction_counters {
    uint64_t frames, lost, overflowed, duplicated, corrupted, no_room;
};

struct packet_access {
    struct access_settings settings;
    struct access_outlets outlets;
    uint32_t *kinds; /* of each host */
    struct host_links *hosts;
    struct held_node *free_frames[POOLS];
    struct block *blocks;
    uint32_t held, held_max;
    uint64_t late, very_late, late_max_ns; /* frames that went on more than 1 ms, and 10 ms, after their time */
    struct direction_counters counters[LINK_DIRECTIONS];
    struct calendar calendar;
};

struct packet_access *access_open(const struct access_settings *settings, const struct access_outlets *outlets, uint64_t now_ns)
{
    struct packet_access *access = calloc(1, sizeof *access);
    if (!access)
        return NULL;
    access->settings = *settings;
    access->outlets = *outlets;
    access->kinds = access_plan_assign(settings->plan, settings->host_count, settings->seed);
    access->hosts = calloc(settings->host_count, sizeof *access->hosts); /* zero pages until a host is used */
    calendar_start(&access->calendar, now_ns);
    if (access->kinds && access->hosts)
        return access;
    free(access->kinds);
    free(access->hosts);
    free(access);
    return NULL;
}

/* A whole block's worth of frames for a pool. */
static void fill_pool(struct packet_access *access, int pool)
{
    size_t size = (sizeof(struct held_frame) + pool_bytes[pool] + 15) & ~(size_t)15;
    struct block *block = malloc(BLOCK_BYTES);
    if (!block)
        return;
    block->next = access->blocks;
    access->blocks = block;
    for (size_t at = 16; at + size <= BLOCK_BYTES; at += size) {
        struct held_node *node = (struct held_node *)((char *)block + at);
        node->next = access->free_frames[pool];
        access->free_frames[pool] = node;
    }
}

static struct held_frame *take_frame(struct packet_access *access, size_t length, int direction)
{
    int pool = 0;
    struct held_frame *frame = NULL;
    while (pool < POOLS && length > pool_bytes[pool])
        pool++;
    if (access->held < MOST_HELD && pool == POOLS) {
        frame = malloc(sizeof *frame + length);
    } else if (access->held < MOST_HELD) {
        if (!access->free_frames[pool])
            fill_pool(access, pool);
        frame = (struct held_frame *)access->free_frames[pool];
        if (frame)
            access->free_frames[pool] = frame->node.next;
    }
    if (!frame) {
        access->counters[direction].no_room++;
        return NULL;
    }
    frame->length = (uint32_t)length;
    frame->pool = (uint8_t)pool;
    frame->direction = (uint8_t)direction;
    frame->checksum_known = false;
    return frame;
}

static void give_back(struct packet_access *access, struct held_frame *frame)
{
    if (frame->pool == POOLS) {
        free(frame);
        return;
    }
    frame->node.next = access->free_frames[frame->pool];
    access->free_frames[frame->pool] = &frame->node;
}

static void hand_on(struct packet_access *access, const struct held_frame *frame)
{
    struct packet_frame whole = {.bytes = frame->bytes, .length = frame->length, .checksum_known = frame->checksum_known};
    if (frame->direction == LINK_UP)
        access->outlets.up(access->outlets.owner, frame->bytes, frame->length);
    else
        access->outlets.down(access->outlets.owner, &whole);
}

uint64_t access_no_room(const struct packet_access *access, int direction)
{
    return access->counters[direction].no_room;
}

const struct shape *access_shape(const struct packet_access *access, uint32_t host, int direction)
{
    return &access->settings.plan->kinds[access->kinds[host - access->settings.first_host]].shapes[direction];
}

static struct link *link_of(struct packet_access *access, uint32_t host, int direction)
{
    struct link *link = &access->hosts[host - access->settings.first_host].links[direction];
    if (!link->shape) {
        const struct shape *shape = access_shape(access, host, direction);
        uint64_t own = ((uint64_t)host << 1 | (uint64_t)direction) * 0x9e3779b97f4a7c15ull;
        link_init(link, shape, own ^ shape->seed ^ access->settings.seed << 32);
    }
    return link;
}

static void hold(struct packet_access *access, struct held_frame *frame, uint64_t release_ns)
{
    frame->node.release_ns = release_ns;
    calendar_add(&access->calendar, &frame->node);
    if (++access->held > access->held_max)
        access->held_max = access->held;
}

static void hold_copy(struct packet_access *access, const struct held_frame *frame, uint64_t release_ns)
{
    struct held_frame *copy = take_frame(access, frame->length, frame->direction);
    if (!copy)
        return;
    copy->checksum_known = frame->checksum_known;
    memcpy(copy->bytes, frame->bytes, frame->length);
    hold(access, copy, release_ns);
}

/* The frame belongs to the link from here on. */
static void pass(struct packet_access *access, struct held_frame *frame, uint32_t host, uint64_t now_ns)
{
    struct direction_counters *counters = &access->counters[frame->direction];
    struct link *link = link_of(access, host, frame->direction);
    counters->frames++;
    if (!shape_touches(link->shape)) {
        hand_on(access, frame);
        give_back(access, frame);
        return;
    }
    size_t length = frame->length - ETHERNET_BYTES;
    struct fate fate = link_packet(link, now_ns, length);
    if (fate.lost || fate.overflowed) {
        counters->lost += fate.lost;
        counters->overflowed += fate.overflowed;
        give_back(access, frame);
        return;
    }
    if (fate.duplicated) { /* as linkem has it, the copy is not flipped */
        counters->duplicated++;
        hold_copy(access, frame, fate.release_ns);
    }
    if (fate.corrupted && length) {
        counters->corrupted++;
        uint64_t bit = fate.flipped_bit % (length * 8);
        frame->bytes[ETHERNET_BYTES + bit / 8] ^= (uint8_t)(1u << bit % 8);
        frame->checksum_known = false;
    }
    hold(access, frame, fate.release_ns);
}

uint8_t *access_reserve(struct packet_access *access, size_t length)
{
    struct held_frame *frame = take_frame(access, length, LINK_UP);
    return frame ? frame->bytes : NULL;
}

void access_send(struct packet_access *access, uint8_t *frame, uint32_t host, uint64_t now_ns)
{
    pass(access, (struct held_frame *)(frame - offsetof(struct held_frame, bytes)), host, now_ns);
}

static uint32_t host_of(const struct packet_frame *frame)
{
    uint32_t host;
    memcpy(&host, frame->bytes + ETHERNET_BYTES + 16, sizeof host);
    return ntohl(host);
}

void access_receive(struct packet_access *access, const struct packet_frame *frame, uint64_t now_ns)
{
    if (frame->length < ETHERNET_BYTES + IP_BYTES || host_of(frame) - access->settings.first_host >= access->settings.host_count) {
        access->outlets.down(access->outlets.owner, frame); /* no host's: to be counted as not understood */
        return;
    }
    uint32_t host = host_of(frame);
    if (!shape_touches(access_shape(access, host, LINK_DOWN))) {
        access->counters[LINK_DOWN].frames++;
        access->outlets.down(access->outlets.owner, frame);
        return;
    }
    uint32_t most = access->settings.most_payload, count = cut_count(frame, most);
    for (uint32_t i = 0; i < count; i++) {
        struct held_frame *held = take_frame(access, count == 1 ? frame->length : cut_room(frame, most), LINK_DOWN);
        if (!held)
            return;
        held->checksum_known = frame->checksum_known;
        if (count == 1)
            memcpy(held->bytes, frame->bytes, frame->length);
        else
            held->length = (uint32_t)cut_build(frame, most, i, held->bytes);
        pass(access, held, host, now_ns);
    }
}

void access_release(struct packet_access *access, uint64_t now_ns)
{
    for (struct held_node *node; (node = calendar_take(&access->calendar, now_ns));) {
        struct held_frame *frame = (struct held_frame *)node;
        access->held--;
        if (now_ns > node->release_ns + LATE_NS) {
            access->late++;
            access->very_late += now_ns > node->release_ns + VERY_LATE_NS;
            if (now_ns - node->release_ns > access->late_max_ns)
                access->late_max_ns = now_ns - node->release_ns;
        }
        hand_on(access, frame);
        give_back(access, frame);
    }
}

uint64_t access_next_ns(const struct packet_access *access)
{
    return access->held ? calendar_next_ns(&access->calendar) : UINT64_MAX;
}

uint32_t access_held(const struct packet_access *access)
{
    return access->held;
}

void access_counters(const struct packet_access *access, struct json *json)
{
    for (int i = 0; i < LINK_DIRECTIONS; i++) {
        const struct direction_counters *counters = &access->counters[i];
        json_object_open(json, link_direction_names[i]);
        json_uint(json, "frames", counters->frames);
        json_uint(json, "lost", counters->lost);
        json_uint(json, "overflowed", counters->overflowed);
        json_uint(json, "duplicated", counters->duplicated);
        json_uint(json, "corrupted", counters->corrupted);
        json_uint(json, "no_room", counters->no_room);
        json_object_close(json);
    }
    json_uint(json, "held", access->held);
    json_uint(json, "held_max", access->held_max);
    json_uint(json, "late", access->late);
    json_uint(json, "very_late", access->very_late);
    json_uint(json, "late_max_us", access->late_max_ns / NS_PER_US);
}

void access_close(struct packet_access *access)
{
    for (struct held_node *node; (node = calendar_take(&access->calendar, UINT64_MAX));) {
        struct held_frame *frame = (struct held_frame *)node;
        access->held--;
        if (frame->direction == LINK_UP)
            hand_on(access, frame);
        if (frame->pool == POOLS)
            free(frame);
    }
    for (struct block *block; (block = access->blocks);) {
        access->blocks = block->next;
        free(block);
    }
    for (uint32_t i = 0; i < access->settings.host_count; i++)
        for (int j = 0; j < LINK_DIRECTIONS; j++)
            if (access->hosts[i].links[j].leaving_ns) /* read only: pages that were never used stay so */
                link_free(&access->hosts[i].links[j]);
    free(access->kinds);
    free(access->hosts);
    free(access);
}
