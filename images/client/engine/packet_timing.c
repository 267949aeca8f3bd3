/* Round-trip times, retransmission and delayed acknowledgement (RFC 6298, RFC 1122). */
#include "engine/packet_tcp.h"

enum {
    MOST_RETRIES = 15,         /* of data; with doubling this is minutes, so a load's own time-out comes first */
    MOST_ORPHAN_RETRIES = 8,   /* once the load has finished with it */
    MOST_SYN_RETRIES = 6,
    LONGEST_RTO_US = 60000000,
};

static uint32_t clamp_rto(const struct packet_engine *engine, uint64_t rto_us)
{
    uint64_t least = engine->settings.minimum_rto_ns / NS_PER_US;
    if (rto_us < least)
        rto_us = least;
    return rto_us > LONGEST_RTO_US ? LONGEST_RTO_US : (uint32_t)rto_us;
}

void tcp_arm(struct packet_engine *engine, struct tcp_connection *connection, uint64_t *deadline_ns, uint64_t after_ns)
{
    *deadline_ns = engine->base.now_ns + after_ns;
    wheel_set(&engine->wheel, connection_number(engine, connection), *deadline_ns);
}

void tcp_measure(struct packet_engine *engine, struct tcp_connection *connection)
{
    uint64_t elapsed_us = (engine->base.now_ns - connection->timed_at_ns) / NS_PER_US;
    uint32_t sample = elapsed_us > LONGEST_RTO_US ? LONGEST_RTO_US : (uint32_t)elapsed_us;
    connection->timed_at_ns = 0;
    if (connection->smoothed_us == 0) {
        connection->smoothed_us = sample ? sample : 1;
        connection->variation_us = sample / 2;
    } else {
        uint32_t smoothed = connection->smoothed_us;
        uint32_t error = smoothed > sample ? smoothed - sample : sample - smoothed;
        connection->variation_us = (3 * connection->variation_us + error) / 4;
        connection->smoothed_us = (uint32_t)((7ull * smoothed + sample) / 8);
    }
    connection->rto_us = clamp_rto(engine, connection->smoothed_us + 4ull * connection->variation_us);
}

/* Nothing was acknowledged in time: send again, and wait twice as long. */
static void retransmission_timeout(struct packet_engine *engine, struct tcp_connection *connection)
{
    bool probing = connection->peer_window == 0 && connection->state != TCP_SYN_SENT;
    uint8_t most = connection->state == TCP_SYN_SENT ? MOST_SYN_RETRIES : connection->owned ? MOST_RETRIES : MOST_ORPHAN_RETRIES;
    if (connection->state == TCP_FIN_WAIT_2) {
        table_release(engine, connection); /* the peer does not close: forget it, as kernels do after tcp_fin_timeout */
        return;
    }
    /* A closed window is not a dead peer, as long as somebody waits for it. */
    if (connection->retries >= most && !(probing && connection->owned)) {
        tcp_fail(engine, connection, ENGINE_TIMED_OUT);
        return;
    }
    if (connection->retries < most)
        connection->retries++;
    connection->rto_us = connection->rto_us > LONGEST_RTO_US / 2 ? LONGEST_RTO_US : 2 * connection->rto_us;
    connection->timed_at_ns = 0; /* Karn: no round trip from what was sent twice */
    engine->counters.retransmissions++;
    if (connection->state == TCP_SYN_SENT) {
        tcp_send_syn(engine, connection);
        return;
    }
    if (connection->confirming) {
        tcp_send_probe(engine, connection);
        return;
    }
    connection->congestion_window = connection->mss;
    connection->duplicate_acks = 0;
    tcp_retransmit(engine, connection);
}

void tcp_timer(struct packet_engine *engine, struct tcp_connection *connection)
{
    uint64_t now = engine->base.now_ns;
    uint32_t generation = connection->generation;
    if (connection->state == TCP_FREE)
        return;
    if (connection->acknowledge_at_ns && connection->acknowledge_at_ns <= now)
        tcp_send_ack(engine, connection);
    if (connection->retransmit_at_ns && connection->retransmit_at_ns <= now) {
        connection->retransmit_at_ns = 0;
        retransmission_timeout(engine, connection);
        if (connection->generation != generation)
            return;
    }
    uint64_t next = connection->retransmit_at_ns;
    if (connection->acknowledge_at_ns && (!next || connection->acknowledge_at_ns < next))
        next = connection->acknowledge_at_ns;
    if (next)
        wheel_set(&engine->wheel, connection_number(engine, connection), next);
}
