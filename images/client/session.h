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
    const char *text; /* the requests, one after the other */
    uint32_t length;
    uint32_t requests;
    const bool *heads; /* which of them are HEAD: their replies have no body */
    uint64_t think_ns; /* before it */
};

struct session {
    const struct batch *batches;
    uint32_t count;
};

struct session_list {
    struct session *sessions;
    uint32_t count;
    uint32_t most_batches;
};

/* One session of one GET. */
void sessions_from_uri(struct session_list *list, const char *uri, const char *host);
/* Reads a trace; a fault ends the program with one line naming file and line, status 2. */
void sessions_from_trace(struct session_list *list, const char *path, const char *host);

#endif
