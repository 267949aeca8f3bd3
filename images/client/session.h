/*
 * What is asked for on a connection: a session is a row of batches of requests. The requests of a batch leave together
 * (pipelined); the next batch follows when all replies are there, after its think time.
 *
 * Sessions come from one URI, or from a trace in httperf's wsesslog form. As in httperf, the first request of a burst goes
 * alone and the rest of the burst together after its reply: so a burst of several requests becomes two batches.
 */
#ifndef CLIENT_SESSION_H
#define CLIENT_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch {
    char *text; /* the requests, one after the other */
    uint32_t length;
    uint32_t requests;
    bool *heads; /* which of them are HEAD: their replies have no body */
    uint64_t think_ns; /* before it */
};

struct session {
    struct batch *batches;
    uint32_t count;
};

struct session_list {
    struct session *sessions;
    uint32_t count;
};

struct request {
    const char *method, *uri, *host;
    const char *body; /* NULL: none */
    size_t body_length;
};

/* Building a list; memory that runs out ends the program. The list starts as zeros. */
struct session *sessions_add(struct session_list *list);
struct batch *session_add_batch(struct session *session, uint64_t think_ns);
void batch_add_request(struct batch *batch, const struct request *request);
void sessions_free(struct session_list *list);

/* session_trace.c: reads a trace; a fault ends the program with one line naming file and line, status 2. */
void sessions_read_trace(struct session_list *list, const char *path, const char *host);

#endif
