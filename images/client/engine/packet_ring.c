#define _GNU_SOURCE
#include "engine/packet_ring.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"

enum { LARGEST_FRAME = 128 * 1024, BLOCK_BYTES = 1 << 16, RECEIVE_BUFFER = 8 << 20 };
enum { COMPARED_EACH_NS = 10 * 1000 * 1000, CLOSE_ENOUGH_NS = 5000, COMPARISONS = 4 };

/* Only frames for our hosts reach the ring: everything else costs one run of this filter. */
static int attach_filter(int descriptor, uint32_t first, uint32_t count)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_HOST, 0, 6),
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ETH_HLEN + 16),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, first, 0, 2),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, first + count - 1, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    return setsockopt(descriptor, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

static int set_packet_option(int descriptor, int option, int value)
{
    return setsockopt(descriptor, SOL_PACKET, option, &value, sizeof value);
}

static int map_ring(struct packet_ring *ring, uint32_t frames, uint32_t frame_bytes)
{
    ring->block_bytes = frame_bytes > BLOCK_BYTES ? frame_bytes : BLOCK_BYTES;
    ring->frame_bytes = frame_bytes;
    ring->frames_per_block = ring->block_bytes / frame_bytes;
    uint32_t blocks = (frames + ring->frames_per_block - 1) / ring->frames_per_block;
    ring->frames = blocks * ring->frames_per_block;
    struct tpacket_req request = {
        .tp_block_size = ring->block_bytes, .tp_block_nr = blocks, .tp_frame_size = frame_bytes, .tp_frame_nr = ring->frames};
    if (setsockopt(ring->descriptor, SOL_PACKET, PACKET_RX_RING, &request, sizeof request) < 0)
        return -1;
    ring->map_bytes = (size_t)blocks * ring->block_bytes;
    void *map = mmap(NULL, ring->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring->descriptor, 0);
    if (map == MAP_FAILED)
        return -1;
    ring->map = map;
    return 0;
}

int ring_open(struct packet_ring *ring, int interface, uint32_t first, uint32_t count, uint32_t frames, uint32_t frame_bytes)
{
    memset(ring, 0, sizeof *ring);
    ring->asked_ns = ring->earliest_ns = clock_now_ns();
    /* Protocol 0 until bind(): nothing may arrive before the filter stands. */
    ring->descriptor = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (ring->descriptor < 0)
        return -1;
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = interface};
    int buffer = RECEIVE_BUFFER; /* the kernel takes as much of it as rmem_max allows */
    if (set_packet_option(ring->descriptor, PACKET_VERSION, TPACKET_V2) < 0 ||
        set_packet_option(ring->descriptor, PACKET_COPY_THRESH, 1) < 0 ||
        set_packet_option(ring->descriptor, PACKET_IGNORE_OUTGOING, 1) < 0 ||
        setsockopt(ring->descriptor, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer) < 0 ||
        attach_filter(ring->descriptor, first, count) < 0 || map_ring(ring, frames, frame_bytes) < 0 ||
        bind(ring->descriptor, (struct sockaddr *)&address, sizeof address) < 0 || !(ring->large = malloc(LARGEST_FRAME))) {
        int saved = errno;
        ring_close(ring);
        errno = saved;
        return -1;
    }
    return 0;
}

static struct tpacket2_hdr *slot(const struct packet_ring *ring)
{
    size_t block = ring->next / ring->frames_per_block, within = ring->next % ring->frames_per_block;
    return (struct tpacket2_hdr *)(ring->map + block * ring->block_bytes + within * ring->frame_bytes);
}

/* Fetches the whole of a frame whose slot holds only its beginning. */
static bool fetch_large(struct packet_ring *ring, struct packet_frame *frame)
{
    ssize_t length = recv(ring->descriptor, ring->large, LARGEST_FRAME, MSG_DONTWAIT);
    if (length <= 0)
        return false;
    frame->bytes = ring->large;
    frame->length = (size_t)length;
    return true;
}

bool ring_next(struct packet_ring *ring, struct packet_frame *frame)
{
    for (;;) {
        struct tpacket2_hdr *header = slot(ring);
        uint32_t status = __atomic_load_n(&header->tp_status, __ATOMIC_ACQUIRE);
        if (!(status & TP_STATUS_USER)) {
            ring->earliest_ns = ring->asked_ns;
            return false;
        }
        ring->received++;
        frame->bytes = (const uint8_t *)header + header->tp_mac;
        frame->length = header->tp_snaplen;
        frame->stamp_ns = header->tp_sec * NS_PER_S + header->tp_nsec;
        frame->checksum_known = status & (TP_STATUS_CSUMNOTREADY | TP_STATUS_CSUM_VALID);
        bool whole = header->tp_snaplen == header->tp_len;
        if (status & TP_STATUS_COPY)
            whole = fetch_large(ring, frame);
        if (whole)
            return true;
        ring->drops++; /* the socket buffer had no room for the whole of it */
        ring_release(ring);
    }
}

/* Again when it took long: something came in between. */
static void compare_clocks(struct packet_ring *ring, uint64_t now_ns)
{
    for (int i = 0; i < COMPARISONS; i++) {
        uint64_t before = clock_now_ns(), wall = clock_read_ns(CLOCK_REALTIME), after = clock_now_ns();
        ring->wall_ahead_ns = wall - before;
        if (after - before < CLOSE_ENOUGH_NS)
            break;
    }
    ring->wall_compared_ns = now_ns;
}

uint64_t ring_arrival_ns(struct packet_ring *ring, const struct packet_frame *frame, uint64_t now_ns)
{
    if (now_ns - ring->wall_compared_ns >= COMPARED_EACH_NS)
        compare_clocks(ring, now_ns);
    ring->asked_ns = now_ns;
    uint64_t arrived_ns = frame->stamp_ns - ring->wall_ahead_ns;
    if (arrived_ns > now_ns)
        return now_ns;
    return arrived_ns < ring->earliest_ns ? ring->earliest_ns : arrived_ns;
}

void ring_release(struct packet_ring *ring)
{
    __atomic_store_n(&slot(ring)->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    if (++ring->next == ring->frames)
        ring->next = 0;
}

void ring_count_drops(struct packet_ring *ring)
{
    struct tpacket_stats statistics;
    socklen_t length = sizeof statistics;
    if (getsockopt(ring->descriptor, SOL_PACKET, PACKET_STATISTICS, &statistics, &length) == 0)
        ring->drops += statistics.tp_drops;
}

void ring_close(struct packet_ring *ring)
{
    if (ring->map)
        munmap(ring->map, ring->map_bytes);
    if (ring->descriptor >= 0)
        close(ring->descriptor);
    free(ring->large);
    ring->map = NULL;
    ring->large = NULL;
    ring->descriptor = -1;
}
