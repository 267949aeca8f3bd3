/* What a load counts: httperf's error classes, replies, and histograms. */
#ifndef CLIENT_TALLY_H
#define CLIENT_TALLY_H

#include <stdint.h>

#include "engine.h"
#include "histogram.h"
#include "json.h"

enum error_class {
    ERROR_CLIENT_TIMO,
    ERROR_SOCKET_TIMO,
    ERROR_CONNREFUSED,
    ERROR_CONNRESET,
    ERROR_FD_UNAVAIL,
    ERROR_ADDRUNAVAIL,
    ERROR_FTAB_FULL,
    ERROR_OTHER,
    ERROR_CLASSES,
};

/* Why something was filed under "other". */
enum other_reason {
    OTHER_STATUS,          /* a reply whose status is not 2xx */
    OTHER_NOT_HTTP,        /* a reply that is none */
    OTHER_EARLY_CLOSE,     /* the server closed before the reply was whole */
    OTHER_UNEXPECTED_DATA, /* bytes that no request asked for */
    OTHER_BODY,            /* --body-crc32 did not match */
    OTHER_INTERRUPTED,     /* SIGTERM came first */
    OTHER_ENGINE,
    OTHER_REASONS,
};

struct tally {
    uint64_t attempted, completed, replies;
    uint64_t requests; /* that were sent; of the whole run only */
    uint64_t errors[ERROR_CLASSES];
};

/* How many connections there were at a time. */
struct concurrency {
    double connection_ns; /* summed over the time */
    uint32_t max;
};

/* The measurement window. Members of `intended` are over starts intended inside it, whenever the rest happened. */
struct window_tally {
    struct tally intended;
    uint64_t started;        /* of those intended inside, actually started (a full table or no port prevents it) */
    uint64_t sent;           /* starts that happened inside … */
    uint64_t wanted;         /* … and the requests of their sessions, sent by now or not */
    uint64_t requests;       /* that were sent inside */
    uint64_t replies;        /* whose end fell inside */
    uint64_t bytes_received; /* that arrived inside */
    uint64_t max_burst;
    uint64_t cpu_ns;
    struct concurrency open, established;
    struct histogram response, response_actual, connect, lateness;
};

enum error_class error_class_of(enum engine_error error);
uint64_t tally_errors(const struct tally *tally);
void tally_write_errors(struct json *json, const char *key, const struct tally *tally);
void window_write(struct json *json, const struct window_tally *window, double seconds);
void other_reasons_write(struct json *json, const uint64_t reasons[OTHER_REASONS]);

#endif
