/* Segments that came before their turn. They are rare, so each is one allocation in a sorted list. */
#include <stdlib.h>
#include <string.h>

#include "engine/packet_tcp.h"

struct stored_segment {
    struct stored_segment *next;
    uint32_t sequence, length;
    bool fin;
    uint8_t bytes[];
};

void stored_insert(struct packet_engine *engine, struct tcp_connection *connection, const struct segment *segment)
{
    struct stored_segment **at = &connection->stored;
    /* Among segments that begin alike the longest is delivered, the others turn out as duplicates then. */
    while (*at && sequence_before((*at)->sequence, segment->sequence))
        at = &(*at)->next;
    bool fin = segment->flags & TCP_FIN;
    if (*at && (*at)->sequence == segment->sequence && (*at)->length >= segment->length && (*at)->fin >= fin) {
        engine->counters.duplicates++;
        return;
    }
    /* Overlapping copies could hold more than the window: bound them by it all the same. */
    if (connection->stored_bytes + segment->length > 2 * engine->settings.receive_buffer)
        return;
    struct stored_segment *stored = malloc(sizeof *stored + segment->length);
    if (!stored)
        return; /* as if it was lost: the peer sends it again */
    *stored = (struct stored_segment){.next = *at, .sequence = segment->sequence, .length = segment->length, .fin = fin};
    memcpy(stored->bytes, segment->payload, segment->length);
    connection->stored_bytes += segment->length;
    *at = stored;
}

bool stored_deliver(struct packet_engine *engine, struct tcp_connection *connection, bool *fin)
{
    while (connection->stored && !sequence_before(connection->receive_next, connection->stored->sequence)) {
        struct stored_segment *first = connection->stored;
        connection->stored = first->next;
        connection->stored_bytes -= first->length;
        uint32_t known = connection->receive_next - first->sequence;
        bool alive = true, last = first->fin && known <= first->length;
        if (known < first->length)
            alive = tcp_deliver(engine, connection, first->bytes + known, first->length - known);
        free(first);
        if (!alive)
            return false;
        if (last)
            *fin = true;
    }
    return true;
}

void stored_free(struct tcp_connection *connection)
{
    while (connection->stored) {
        struct stored_segment *first = connection->stored;
        connection->stored = first->next;
        free(first);
    }
    connection->stored_bytes = 0;
}
