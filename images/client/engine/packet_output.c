/* What leaves: SYN, data, FIN, ACK, RST. */
#include "engine/packet_tcp.h"

enum { PROBE_AGE = 64 };

static uint32_t smaller(uint32_t one, uint32_t other)
{
    return one < other ? one : other;
}

/* Window field of a segment; moves the advertised right edge, which never moves back. */
static uint16_t advertise(const struct packet_engine *engine, struct tcp_connection *connection)
{
    uint32_t buffer = engine->settings.receive_buffer;
    uint32_t space = connection->unread < buffer ? buffer - connection->unread : 0;
    uint32_t window = space >> connection->own_shift;
    if (window > UINT16_MAX)
        window = UINT16_MAX;
    uint32_t edge = connection->receive_next + (window << connection->own_shift);
    if (sequence_before(edge, connection->receive_edge)) {
        uint32_t promised = connection->receive_edge - connection->receive_next;
        window = (promised + (1u << connection->own_shift) - 1) >> connection->own_shift;
        return (uint16_t)smaller(window, UINT16_MAX);
    }
    connection->receive_edge = edge;
    return (uint16_t)window;
}

static void emit(struct packet_engine *engine, const struct frame_fields *fields)
{
    size_t length = frame_size(fields);
    uint8_t *frame = engine->access ? access_reserve(engine->access, length) : transmit_reserve(&engine->transmit, length);
    if (!frame)
        return; /* as if the network had lost it */
    frame_build(frame, &engine->path, fields);
    if (engine->access)
        access_send(engine->access, frame, fields->host, engine->base.now_ns);
}

/* Any segment but SYN and RST: it carries the acknowledgement. */
static void emit_segment(struct packet_engine *engine, struct tcp_connection *connection, uint32_t sequence, uint32_t length, bool fin)
{
    bool last = length && sequence + length == connection->send_end;
    struct frame_fields fields = {
        .host = connection->host,
        .port = connection->port,
        .sequence = sequence,
        .acknowledged = connection->receive_next,
        .flags = (uint8_t)(TCP_ACK | (last ? TCP_PSH : 0) | (fin ? TCP_FIN : 0)),
        .window = advertise(engine, connection),
        .payload = length ? connection->data + (sequence - connection->data_start) : NULL,
        .length = length,
    };
    connection->acknowledged = connection->receive_next;
    connection->acknowledge_at_ns = 0;
    emit(engine, &fields);
}

void tcp_send_syn(struct packet_engine *engine, struct tcp_connection *connection)
{
    struct frame_fields fields = {
        .host = connection->host,
        .port = connection->port,
        .sequence = connection->send_unacknowledged,
        .flags = TCP_SYN,
        .window = (uint16_t)smaller(engine->settings.receive_buffer, UINT16_MAX),
        .mss = engine->own_mss,
        .window_shift = engine->own_shift,
    };
    emit(engine, &fields);
    tcp_arm(engine, connection, &connection->retransmit_at_ns, connection->rto_us * NS_PER_US);
}

void tcp_send_ack(struct packet_engine *engine, struct tcp_connection *connection)
{
    emit_segment(engine, connection, connection->send_next, 0, false);
}

void tcp_send_probe(struct packet_engine *engine, struct tcp_connection *connection)
{
    /* An old segment, as of keep-alive, is answered with an ACK by whoever knows the connection. That it acknowledges one byte less
       than it should makes it wrong for a server that still waits for our first ACK, and that it is older by another number than
       that makes it no SYN cookie's answer: a server that waits, or has forgotten, sends RST. */
    struct frame_fields fields = {
        .host = connection->host,
        .port = connection->port,
        .sequence = connection->send_next - PROBE_AGE,
        .acknowledged = connection->receive_next - 1,
        .flags = TCP_ACK,
        .window = advertise(engine, connection),
    };
    emit(engine, &fields);
    tcp_arm(engine, connection, &connection->retransmit_at_ns, connection->rto_us * NS_PER_US);
}

/* Queued bytes from a sequence number on. */
static uint32_t queued_from(const struct tcp_connection *connection, uint32_t sequence)
{
    return sequence_before(sequence, connection->send_end) ? connection->send_end - sequence : 0;
}

/* Is FIN, if queued, still to be sent by somebody who stands at this sequence number? */
static bool fin_from(const struct tcp_connection *connection, uint32_t sequence)
{
    return connection->fin_queued && !sequence_before(connection->send_end, sequence);
}

static void sent_up_to(struct packet_engine *engine, struct tcp_connection *connection, uint32_t end)
{
    connection->send_next = end;
    if (sequence_before(connection->send_highest, end)) {
        connection->send_highest = end;
        if (!connection->timed_at_ns) {
            connection->timed_sequence = end;
            connection->timed_at_ns = engine->base.now_ns;
        }
    }
    if (!connection->retransmit_at_ns)
        tcp_arm(engine, connection, &connection->retransmit_at_ns, connection->rto_us * NS_PER_US);
}

void tcp_output(struct packet_engine *engine, struct tcp_connection *connection)
{
    for (;;) {
        uint32_t sequence = connection->send_next, queued = queued_from(connection, sequence);
        uint32_t flying = sequence - connection->send_unacknowledged;
        uint32_t window = smaller(connection->peer_window, connection->congestion_window);
        uint32_t length = smaller(smaller(queued, connection->mss), window > flying ? window - flying : 0);
        bool fin = length == queued && fin_from(connection, sequence);
        if (!length && !fin) {
            /* A window that is closed with nothing on its way: the timer will probe it. */
            if (queued && !flying && !connection->retransmit_at_ns)
                tcp_arm(engine, connection, &connection->retransmit_at_ns, connection->rto_us * NS_PER_US);
            return;
        }
        emit_segment(engine, connection, sequence, length, fin);
        sent_up_to(engine, connection, sequence + length + fin);
    }
}

void tcp_retransmit(struct packet_engine *engine, struct tcp_connection *connection)
{
    uint32_t sequence = connection->send_unacknowledged, queued = queued_from(connection, sequence);
    uint32_t length = smaller(queued, connection->mss);
    if (length > connection->peer_window)
        length = connection->peer_window ? connection->peer_window : 1; /* one byte probes a closed window */
    bool fin = length == queued && fin_from(connection, sequence);
    if (!length && !fin)
        return;
    emit_segment(engine, connection, sequence, length, fin);
    uint32_t end = sequence + length + fin;
    if (sequence_before(connection->send_next, end))
        sent_up_to(engine, connection, end);
    connection->timed_at_ns = 0;
    tcp_arm(engine, connection, &connection->retransmit_at_ns, connection->rto_us * NS_PER_US);
}

void tcp_send_reset(struct packet_engine *engine, const struct tcp_connection *connection)
{
    bool synchronised = connection->state != TCP_SYN_SENT;
    struct frame_fields fields = {
        .host = connection->host,
        .port = connection->port,
        .sequence = synchronised ? connection->send_next : connection->send_unacknowledged + 1,
        .acknowledged = synchronised ? connection->receive_next : 0,
        .flags = synchronised ? TCP_RST | TCP_ACK : TCP_RST,
    };
    engine->counters.resets_sent++;
    emit(engine, &fields);
}

void stray_input(struct packet_engine *engine, const struct segment *segment)
{
    uint32_t end = segment->sequence + segment->length + !!(segment->flags & TCP_SYN) + !!(segment->flags & TCP_FIN);
    struct frame_fields fields = {.host = segment->host, .port = segment->port};
    engine->counters.strays++;
    if (segment->flags & TCP_RST)
        return;
    if ((segment->flags & (TCP_FIN | TCP_ACK)) == (TCP_FIN | TCP_ACK) && segment->length == 0) {
        /* Our last ACK was lost: what TIME_WAIT is for, and the segment itself says what to answer. */
        fields.flags = TCP_ACK;
        fields.sequence = segment->acknowledged;
        fields.acknowledged = end;
        fields.window = UINT16_MAX;
    } else if (segment->flags & TCP_ACK) {
        fields.flags = TCP_RST;
        fields.sequence = segment->acknowledged;
        engine->counters.resets_sent++;
    } else {
        fields.flags = TCP_RST | TCP_ACK;
        fields.acknowledged = end;
        engine->counters.resets_sent++;
    }
    emit(engine, &fields);
}
