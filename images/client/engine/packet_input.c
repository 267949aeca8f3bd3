/* What arrives: RFC 9293, section 3.10.7, for the side that opened the connection. */
#include "engine/packet_tcp.h"

enum {
    DELAYED_ACK_NS = 40 * 1000000,
    INITIAL_WINDOW_SEGMENTS = 10,
    DUPLICATES_THAT_MEAN_LOSS = 3,
    DEFAULT_MSS = 536,
};

#define FIN_WAIT_2_NS (60 * NS_PER_S)

void tcp_fail(struct packet_engine *engine, struct tcp_connection *connection, enum engine_error error)
{
    if (connection->owned) {
        connection->owned = false;
        engine->base.events->failed(engine->base.owner, connection_number(engine, connection), error);
    }
    table_release(engine, connection);
}

bool tcp_deliver(struct packet_engine *engine, struct tcp_connection *connection, const uint8_t *bytes, uint32_t length)
{
    uint32_t generation = connection->generation;
    connection->receive_next += length;
    if (!connection->owned)
        return true;
    if (engine->settings.manual_read)
        connection->unread += length;
    engine->base.events->received(engine->base.owner, connection_number(engine, connection), bytes, length);
    return connection->generation == generation;
}

static void establish(struct packet_engine *engine, struct tcp_connection *connection, const struct segment *segment)
{
    uint32_t generation = connection->generation;
    connection->receive_next = segment->sequence + 1;
    connection->receive_edge = connection->receive_next;
    connection->acknowledged = segment->sequence; /* its SYN is not acknowledged yet */
    connection->send_unacknowledged = segment->acknowledged;
    connection->peer_window = segment->window; /* never scaled on a SYN */
    if (segment->has_window_shift) {
        connection->peer_shift = segment->window_shift;
        connection->own_shift = engine->own_shift;
    }
    uint16_t mss = segment->mss ? segment->mss : DEFAULT_MSS;
    connection->mss = mss < engine->own_mss ? mss : engine->own_mss;
    connection->congestion_window = INITIAL_WINDOW_SEGMENTS * (uint32_t)connection->mss;
    connection->retransmit_at_ns = 0;
    connection->retries = 0;
    if (connection->timed_at_ns)
        tcp_measure(engine, connection);
    connection->state = connection->fin_queued ? TCP_FIN_WAIT_1 : TCP_ESTABLISHED;
    if (connection->owned)
        engine->base.events->connected(engine->base.owner, connection_number(engine, connection));
    if (connection->generation != generation)
        return;
    tcp_output(engine, connection);
    if (connection->acknowledged != connection->receive_next) /* no data carried it */
        tcp_send_ack(engine, connection);
}

static void syn_sent_input(struct packet_engine *engine, struct tcp_connection *connection, const struct segment *segment)
{
    bool acknowledges = segment->flags & TCP_ACK;
    if (acknowledges && segment->acknowledged != connection->send_next) {
        /* Left over from a former connection between the same ports: reset that, our SYN comes again. */
        stray_input(engine, segment);
        return;
    }
    if (segment->flags & TCP_RST) {
        engine->counters.resets_received++;
        if (acknowledges)
            tcp_fail(engine, connection, ENGINE_REFUSED);
        return;
    }
    if (acknowledges && segment->flags & TCP_SYN)
        establish(engine, connection, segment);
    else
        engine->counters.not_understood++; /* simultaneous open: no server does it */
}

static void reset_input(struct packet_engine *engine, struct tcp_connection *connection, const struct segment *segment)
{
    engine->counters.resets_received++;
    if (connection->confirming && segment->sequence + 1 == connection->receive_next)
        tcp_fail(engine, connection, ENGINE_REFUSED); /* the answer to tcp_send_probe() */
    else if (segment->sequence == connection->receive_next)
        tcp_fail(engine, connection, ENGINE_RESET);
    else if (!sequence_before(segment->sequence, connection->receive_next) && sequence_before(segment->sequence, connection->receive_edge))
        tcp_send_ack(engine, connection); /* RFC 5961: somebody who guesses does not get through */
}

/* Old segments (the peer did not get our ACK, or asks whether we live) and segments beyond the window get an ACK. */
static bool acceptable(struct packet_engine *engine, struct tcp_connection *connection, const struct segment *segment)
{
    uint32_t end = segment->sequence + segment->length + (segment->flags & TCP_FIN ? 1 : 0);
    bool old = end == segment->sequence ? sequence_before(end, connection->receive_next) : !sequence_before(connection->receive_next, end);
    if (old) {
        bool probe = segment->sequence + 1 == connection->receive_next && segment->length <= 1 && !(segment->flags & TCP_FIN);
        if (probe)
            engine->counters.keep_alives++;
        else
            engine->counters.duplicates++;
    }
    if (!old && !sequence_before(connection->receive_edge, segment->sequence))
        return true;
    tcp_send_ack(engine, connection);
    return false;
}

static void new_acknowledgement(struct packet_engine *engine, struct tcp_connection *connection, uint32_t acknowledged)
{
    uint32_t bytes = acknowledged - connection->send_unacknowledged;
    connection->send_unacknowledged = acknowledged;
    if (sequence_before(connection->send_next, acknowledged))
        connection->send_next = acknowledged;
    connection->congestion_window += bytes < connection->mss ? bytes : connection->mss;
    connection->duplicate_acks = 0;
    if (connection->retries) {
        connection->retries = 0;
        uint64_t least = engine->settings.minimum_rto_ns / NS_PER_US;
        uint64_t usual = connection->smoothed_us ? connection->smoothed_us + 4ull * connection->variation_us
                                                 : engine->settings.initial_rto_ns / NS_PER_US;
        connection->rto_us = (uint32_t)(usual > least ? usual : least);
    }
    if (connection->timed_at_ns && !sequence_before(acknowledged, connection->timed_sequence))
        tcp_measure(engine, connection);
    connection->retransmit_at_ns = 0;
    if (connection->send_next != acknowledged)
        tcp_arm(engine, connection, &connection->retransmit_at_ns, connection->rto_us * NS_PER_US);
}

/* False: drop the segment. */
static bool acknowledgement_input(struct packet_engine *engine, struct tcp_connection *connection, const struct segment *segment)
{
    uint32_t window = (uint32_t)segment->window << connection->peer_shift;
    if (sequence_before(connection->send_highest, segment->acknowledged)) {
        tcp_send_ack(engine, connection);
        return false;
    }
    if (sequence_before(segment->acknowledged, connection->send_unacknowledged))
        return true; /* an old one, but its data may be new */
    bool flying = connection->send_next != connection->send_unacknowledged;
    if (segment->acknowledged != connection->send_unacknowledged) {
        new_acknowledgement(engine, connection, segment->acknowledged);
    } else if (flying && segment->length == 0 && window == connection->peer_window && !(segment->flags & TCP_FIN)) {
        if (++connection->duplicate_acks == DUPLICATES_THAT_MEAN_LOSS) {
            engine->counters.retransmissions++;
            tcp_retransmit(engine, connection);
        }
    }
    connection->peer_window = window;
    return true;
}

/* False: the connection is gone. */
static bool closing_input(struct packet_engine *engine, struct tcp_connection *connection)
{
    if (!connection->fin_queued || connection->send_unacknowledged != connection->send_end + 1)
        return true;
    if (connection->state == TCP_FIN_WAIT_1) {
        connection->state = TCP_FIN_WAIT_2;
        tcp_arm(engine, connection, &connection->retransmit_at_ns, FIN_WAIT_2_NS);
    } else if (connection->state == TCP_CLOSING || connection->state == TCP_LAST_ACK) {
        table_release(engine, connection);
        return false;
    }
    return true;
}

/* False: the connection is gone. */
static bool fin_input(struct packet_engine *engine, struct tcp_connection *connection)
{
    uint32_t generation = connection->generation;
    connection->receive_next++;
    if (connection->state == TCP_ESTABLISHED) {
        connection->state = TCP_CLOSE_WAIT;
        if (connection->owned)
            engine->base.events->peer_closed(engine->base.owner, connection_number(engine, connection));
        if (connection->generation != generation)
            return false;
    } else if (connection->state == TCP_FIN_WAIT_1) {
        connection->state = TCP_CLOSING;
    }
    if (connection->acknowledged != connection->receive_next)
        tcp_send_ack(engine, connection);
    if (connection->state == TCP_FIN_WAIT_2) {
        table_release(engine, connection);
        return false;
    }
    return true;
}

/* Whatever the peer says, it knows the connection. False: the connection is gone. */
static bool confirmed_input(struct packet_engine *engine, struct tcp_connection *connection)
{
    uint32_t generation = connection->generation;
    if (!connection->confirming)
        return true;
    connection->confirming = false;
    connection->retransmit_at_ns = 0;
    connection->retries = 0;
    if (connection->owned)
        engine->base.events->confirmed(engine->base.owner, connection_number(engine, connection));
    return connection->generation == generation;
}

static void acknowledge(struct packet_engine *engine, struct tcp_connection *connection, bool at_once)
{
    uint32_t owed = connection->receive_next - connection->acknowledged;
    if (owed == 0)
        return;
    if (at_once || owed >= 2u * connection->mss)
        tcp_send_ack(engine, connection);
    else if (!connection->acknowledge_at_ns)
        tcp_arm(engine, connection, &connection->acknowledge_at_ns, DELAYED_ACK_NS);
}

static void data_input(struct packet_engine *engine, struct tcp_connection *connection, const struct segment *segment)
{
    bool fin = segment->flags & TCP_FIN, filled = connection->stored;
    if (!segment->length && !fin)
        return;
    if (connection->state >= TCP_CLOSING || connection->state == TCP_CLOSE_WAIT)
        return; /* its FIN came already: nothing can follow */
    if (sequence_before(connection->receive_next, segment->sequence)) {
        engine->counters.out_of_order++;
        stored_insert(engine, connection, segment);
        tcp_send_ack(engine, connection); /* a duplicate, which tells the peer what is missing */
        return;
    }
    uint32_t known = connection->receive_next - segment->sequence;
    if (known < segment->length) {
        if (!connection->owned) { /* nobody will read it: what a kernel does after close() */
            tcp_send_reset(engine, connection);
            table_release(engine, connection);
            return;
        }
        if (!tcp_deliver(engine, connection, segment->payload + known, segment->length - known))
            return;
    }
    if (!stored_deliver(engine, connection, &fin))
        return;
    if (fin && !fin_input(engine, connection))
        return;
    acknowledge(engine, connection, filled);
}

void tcp_input(struct packet_engine *engine, const struct segment *segment)
{
    if (segment->peer_address != engine->path.target || segment->peer_port != engine->path.port) {
        engine->counters.not_understood++;
        return;
    }
    struct tcp_connection *connection = table_find(engine, segment->host, segment->port);
    if (!connection) {
        stray_input(engine, segment);
    } else if (connection->state == TCP_SYN_SENT) {
        syn_sent_input(engine, connection, segment);
    } else if (segment->flags & TCP_RST) {
        reset_input(engine, connection, segment);
    } else if (segment->flags & TCP_SYN) {
        engine->counters.peer_retransmissions++; /* the ACK of its SYN was lost, or its backlog was full */
        tcp_send_ack(engine, connection);
    } else if (!(segment->flags & TCP_ACK)) {
        engine->counters.not_understood++;
    } else if (acceptable(engine, connection, segment) && confirmed_input(engine, connection) && acknowledgement_input(engine, connection, segment) &&
               closing_input(engine, connection)) {
        tcp_output(engine, connection);
        data_input(engine, connection, segment);
    }
}
