/*
 * The packet engine's TCP: connections, their table, and what the parts of the engine tell each other.
 *
 * Only the active side of TCP, and no TIME_WAIT: a closed connection leaves its slot at once, and a FIN that the peer sends
 * again is answered without one (stray_input).
 */
#ifndef PACKET_TCP_H
#define PACKET_TCP_H

#include "clock.h"
#include "engine.h"
#include "engine/packet_access.h"
#include "engine/packet_frame.h"
#include "engine/packet_way.h"
#include "engine/packet_ring.h"
#include "engine/packet_transmit.h"
#include "engine/packet_wheel.h"

#define NO_CONNECTION UINT32_MAX

enum tcp_state {
    TCP_FREE,
    TCP_SYN_SENT,
    TCP_ESTABLISHED,
    TCP_CLOSE_WAIT, /* the peer's FIN came first */
    TCP_FIN_WAIT_1,
    TCP_FIN_WAIT_2,
    TCP_CLOSING,
    TCP_LAST_ACK,
};

struct stored_segment;

/* Sequence numbers are compared modulo 2^32: sequence_before(). */
struct tcp_connection {
    uint32_t host;
    uint16_t port;
    uint8_t state;
    bool owned;            /* by the load: events may name it */
    bool confirming;       /* the peer was asked whether it knows the connection */
    bool fin_queued;       /* FIN follows the queued data; its sequence number is send_end */
    uint8_t own_shift, peer_shift; /* both 0 unless both sides scale windows */
    uint8_t retries;
    uint8_t duplicate_acks;
    uint16_t mss;
    uint32_t send_unacknowledged, send_next;
    uint32_t send_highest; /* end of what was ever sent */
    uint32_t send_end;     /* end of queued data, without FIN */
    uint32_t peer_window;
    uint32_t congestion_window;
    uint32_t receive_next;
    uint32_t receive_edge;      /* right edge of the window that was advertised */
    uint32_t acknowledged;      /* receive_next of the last segment sent */
    uint32_t unread;            /* delivered, not yet read (manual_read) */
    uint32_t generation;        /* tells a reused slot from the one that an event began with */
    uint32_t hash_next;
    uint32_t stored_bytes;
    const uint8_t *data;        /* the byte with sequence number data_start */
    uint32_t data_start;
    uint32_t timed_sequence;    /* its acknowledgement gives a round trip, if timed_at is not 0 */
    uint8_t *copy;              /* data, where it had to be put together from two sends */
    uint64_t timed_at_ns;
    uint32_t smoothed_us, variation_us, rto_us;
    uint64_t retransmit_at_ns;  /* 0: not set */
    uint64_t acknowledge_at_ns; /* 0: not set */
    struct stored_segment *stored; /* received out of order, by sequence */
};

struct tcp_counters {
    uint64_t retransmissions, peer_retransmissions, resets_received, resets_sent, bad_checksums, not_understood;
    uint64_t duplicates, out_of_order, strays, keep_alives;
};

struct packet_engine {
    struct engine base; /* first: the contract hands out its address */
    struct engine_settings settings;
    struct packet_way way;
    struct packet_ring ring;
    struct packet_transmit transmit;
    struct packet_access *access; /* NULL: the hosts have no links of their own */
    struct wheel wheel;
    struct frame_path path;
    struct tcp_counters counters;
    uint16_t own_mss;
    uint8_t own_shift;
    struct tcp_connection *connections;
    struct wheel_timer *timers;
    uint32_t *free_slots; /* a stack: slots used last are warm */
    uint32_t free_count, touched, open;
    uint32_t *buckets;
    uint32_t bucket_mask;
    uint64_t next_pair;   /* counts through all pairs of host and port */
};

static inline bool sequence_before(uint32_t one, uint32_t other)
{
    return (int32_t)(one - other) < 0;
}

static inline uint32_t connection_number(const struct packet_engine *engine, const struct tcp_connection *connection)
{
    return (uint32_t)(connection - engine->connections);
}

/* packet_table.c: slots, and the way from (host, port) to a slot. */
int table_open(struct packet_engine *engine);
void table_close(struct packet_engine *engine);
/* A slot with host and port set and everything else 0; NULL with *error set. */
struct tcp_connection *table_take(struct packet_engine *engine, enum engine_error *error);
struct tcp_connection *table_find(struct packet_engine *engine, uint32_t host, uint16_t port);
void table_release(struct packet_engine *engine, struct tcp_connection *connection);

/* packet_output.c: what leaves. */
void tcp_send_syn(struct packet_engine *engine, struct tcp_connection *connection);
/* Sends data and FIN as far as windows allow. */
void tcp_output(struct packet_engine *engine, struct tcp_connection *connection);
void tcp_send_ack(struct packet_engine *engine, struct tcp_connection *connection);
/* Asks whether the peer knows the connection; again by the timer until it answers. */
void tcp_send_probe(struct packet_engine *engine, struct tcp_connection *connection);
void tcp_send_reset(struct packet_engine *engine, const struct tcp_connection *connection);
/* Sends the first unacknowledged segment again. */
void tcp_retransmit(struct packet_engine *engine, struct tcp_connection *connection);
/* Answers a segment that belongs to no connection. */
void stray_input(struct packet_engine *engine, const struct segment *segment);

/* packet_timing.c: round trips and deadlines. */
void tcp_arm(struct packet_engine *engine, struct tcp_connection *connection, uint64_t *deadline_ns, uint64_t after_ns);
void tcp_measure(struct packet_engine *engine, struct tcp_connection *connection);
void tcp_timer(struct packet_engine *engine, struct tcp_connection *connection);

/* packet_reassembly.c: segments that came too early. */
void stored_insert(struct packet_engine *engine, struct tcp_connection *connection, const struct segment *segment);
/* Delivers what is in order now; returns false if the connection is gone. *fin: a stored FIN is next. */
bool stored_deliver(struct packet_engine *engine, struct tcp_connection *connection, bool *fin);
void stored_free(struct tcp_connection *connection);

/* packet_input.c: what arrives. */
void tcp_input(struct packet_engine *engine, const struct segment *segment);
/* Hands bytes to the load; returns false if the connection is gone afterwards. */
bool tcp_deliver(struct packet_engine *engine, struct tcp_connection *connection, const uint8_t *bytes, uint32_t length);
/* Tells the load, if it still owns the connection, and releases the slot. */
void tcp_fail(struct packet_engine *engine, struct tcp_connection *connection, enum engine_error error);

#endif
