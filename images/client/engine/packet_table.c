#include <stdlib.h>
#include <string.h>

#include "engine/address_pairs.h"
#include "engine/packet_tcp.h"

enum { PAIR_TRIES = 4096 }; /* pairs looked at before giving up: far more than are ever in use side by side */

static uint32_t bucket_of(const struct packet_engine *engine, uint32_t host, uint16_t port)
{
    uint64_t key = (uint64_t)host << 16 | port;
    return (uint32_t)(key * 0x9e3779b97f4a7c15ull >> 32) & engine->bucket_mask;
}

int table_open(struct packet_engine *engine)
{
    uint32_t most = engine->settings.most_connections, buckets = 1024;
    while (buckets < most)
        buckets *= 2;
    /* calloc of this size maps zero pages: slots that are never used cost no memory. */
    engine->connections = calloc(most, sizeof *engine->connections);
    engine->timers = calloc(most, sizeof *engine->timers);
    engine->free_slots = calloc(most, sizeof *engine->free_slots);
    engine->buckets = malloc(buckets * sizeof *engine->buckets);
    if (!engine->connections || !engine->timers || !engine->free_slots || !engine->buckets)
        return -1;
    memset(engine->buckets, 0xff, buckets * sizeof *engine->buckets);
    engine->bucket_mask = buckets - 1;
    engine->next_pair = pairs_begin();
    return 0;
}

void table_close(struct packet_engine *engine)
{
    free(engine->connections);
    free(engine->timers);
    free(engine->free_slots);
    free(engine->buckets);
}

struct tcp_connection *table_find(struct packet_engine *engine, uint32_t host, uint16_t port)
{
    uint32_t at = engine->buckets[bucket_of(engine, host, port)];
    while (at != NO_CONNECTION) {
        struct tcp_connection *connection = &engine->connections[at];
        if (connection->host == host && connection->port == port)
            return connection;
        at = connection->hash_next;
    }
    return NULL;
}

static bool choose_pair(struct packet_engine *engine, uint32_t *host, uint16_t *port)
{
    for (int i = 0; i < PAIR_TRIES; i++) {
        pairs_next(&engine->next_pair, &engine->settings, host, port);
        if (!table_find(engine, *host, *port))
            return true;
    }
    return false;
}

struct tcp_connection *table_take(struct packet_engine *engine, enum engine_error *error)
{
    uint32_t host, slot;
    uint16_t port;
    if (engine->free_count == 0 && engine->touched == engine->settings.most_connections) {
        *error = ENGINE_TABLE_FULL;
        return NULL;
    }
    if (!choose_pair(engine, &host, &port)) {
        *error = ENGINE_NO_ADDRESS;
        return NULL;
    }
    slot = engine->free_count ? engine->free_slots[--engine->free_count] : engine->touched++;
    struct tcp_connection *connection = &engine->connections[slot];
    uint32_t bucket = bucket_of(engine, host, port);
    *connection = (struct tcp_connection){
        .host = host, .port = port, .generation = connection->generation, .hash_next = engine->buckets[bucket]};
    engine->buckets[bucket] = slot;
    engine->open++;
    return connection;
}

void table_release(struct packet_engine *engine, struct tcp_connection *connection)
{
    uint32_t slot = connection_number(engine, connection);
    uint32_t *at = &engine->buckets[bucket_of(engine, connection->host, connection->port)];
    while (*at != slot)
        at = &engine->connections[*at].hash_next;
    *at = connection->hash_next;
    stored_free(connection);
    free(connection->copy);
    connection->copy = NULL;
    connection->state = TCP_FREE;
    connection->owned = false;
    connection->generation++;
    engine->free_slots[engine->free_count++] = slot;
    engine->open--;
}
