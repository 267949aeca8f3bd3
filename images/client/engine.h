/*
 * The contract between a load (loadgen, idleconn) and what carries its connections.
 *
 * An engine owns numbered connections. Their numbers are small, below settings.most_connections, so a load keeps what it
 * knows of a connection in an array of its own. A number belongs to the load from connect() until it calls finish() or
 * abort(), or until the event failed(): after that no event names it again, and the engine may give it to another
 * connection.
 *
 * Everything happens in one thread, inside connect(), send(), … and wait(). Events may call any operation but wait().
 *
 * An engine is one file with a constructor that calls engine_register(); nothing else needs to know it.
 */
#ifndef CLIENT_ENGINE_H
#define CLIENT_ENGINE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "json.h"

struct access_plan;

enum engine_error {
    ENGINE_OK,
    ENGINE_REFUSED,       /* RST in answer to the SYN, or to confirm() */
    ENGINE_RESET,         /* RST later */
    ENGINE_TIMED_OUT,     /* TCP gave up after its last retransmission */
    ENGINE_NO_DESCRIPTOR, /* EMFILE, ENFILE */
    ENGINE_NO_ADDRESS,    /* no free pair of host and port */
    ENGINE_TABLE_FULL,    /* most_connections are in use */
    ENGINE_OTHER,
};

struct engine_settings {
    struct in_addr target;
    uint16_t port;
    uint32_t first_host;        /* host order; emulated hosts are first_host … first_host + host_count - 1 */
    uint32_t host_count;
    const char *interface;      /* a name, or "address:ADDR" for the one that has this address; NULL: the route's */
    const char *source_mac;     /* "auto" or aa:bb:cc:dd:ee:ff */
    const char *gateway_mac;    /* "auto" (ARP) or aa:bb:cc:dd:ee:ff */
    uint32_t most_connections;
    uint64_t initial_rto_ns;
    uint64_t minimum_rto_ns;
    uint32_t ring_frames;       /* packet engine: slots of the receive ring … */
    uint32_t ring_frame_bytes;  /* … and the size of each; larger frames cost a system call */
    uint32_t receive_buffer;    /* bytes that a peer may send beyond what was read */
    const struct access_plan *access; /* NULL, or the hosts' own links: only where the engine has own_links */
    uint64_t access_seed;
    bool manual_read;           /* the peer may send more only after read(), not as soon as received() returned */
};

struct engine_events {
    void (*connected)(void *owner, uint32_t connection);
    /* The peer knows the connection: the answer to confirm(). */
    void (*confirmed)(void *owner, uint32_t connection);
    /* Bytes of the stream, in order. They are valid during the call only. */
    void (*received)(void *owner, uint32_t connection, const uint8_t *bytes, size_t length);
    /* The peer sent FIN. The connection still belongs to the load, which should finish() it. */
    void (*peer_closed)(void *owner, uint32_t connection);
    /* The connection is gone. */
    void (*failed)(void *owner, uint32_t connection, enum engine_error error);
};

struct engine;

struct engine_operations {
    const char *name;
    bool own_links; /* whether each host can have a link of its own */
    /* NULL and one line in `problem` on failure. Sets every member of struct engine. */
    struct engine *(*open)(const struct engine_settings *settings, const struct engine_events *events, void *owner,
                           char *problem, size_t room);
    /* Starts a connection from the next emulated host; its number is stored before any event can name it. */
    enum engine_error (*connect)(struct engine *engine, uint32_t *connection);
    /* Queues bytes; allowed from connect() on. They must stay valid while the connection lives. */
    void (*send)(struct engine *engine, uint32_t connection, const void *bytes, size_t length);
    /* Asks the peer, before anything was sent, whether it knows the connection: confirmed() or failed() follows. A server whose
       backlog is full answers the SYN and drops the rest, and a connection on which nothing is ever said would never notice. */
    void (*confirm)(struct engine *engine, uint32_t connection);
    /* FIN after everything queued. The rest of the closing is the engine's. */
    void (*finish)(struct engine *engine, uint32_t connection);
    /* RST, and forget. */
    void (*abort)(struct engine *engine, uint32_t connection);
    /* With manual_read: this many more bytes were read. */
    void (*read)(struct engine *engine, uint32_t connection, uint32_t length);
    /* Sends what is queued, then handles what arrived; sleeps until deadline_ns (CLOCK_MONOTONIC) when there is nothing
       to do. Returns 0, or -1 with errno set: EINTR after a signal, anything else is fatal. */
    int (*wait)(struct engine *engine, uint64_t deadline_ns);
    /* Connections whose closing is not over yet, including those that belong to the load. */
    uint32_t (*open_connections)(const struct engine *engine);
    /* Connections on which the peer or the path showed loss so far: retransmissions by either side. */
    uint64_t (*losses)(const struct engine *engine);
    /* Writes members (one object's worth) into an open JSON object. */
    void (*counters)(struct engine *engine, struct json *json);
    /* Resets whatever is still open and frees everything. */
    void (*close)(struct engine *engine);
};

/* What every engine starts with. */
struct engine {
    const struct engine_operations *operations;
    const struct engine_events *events;
    void *owner;
    uint64_t now_ns; /* CLOCK_MONOTONIC of the event being handled: reading the clock once a batch is enough */
};

struct engine_entry {
    const struct engine_operations *operations;
    struct engine_entry *next;
};

void engine_register(struct engine_entry *entry);
const struct engine_operations *engine_find(const char *name); /* NULL if there is none */
/* Names with spaces between them, for messages; the text is the registry's. */
const char *engine_names(void);

#define ENGINE_REGISTER(ops)                                          \
    static struct engine_entry entry = {.operations = &(ops)};        \
    __attribute__((constructor)) static void register_engine(void)    \
    {                                                                 \
        engine_register(&entry);                                      \
    }

#endif
