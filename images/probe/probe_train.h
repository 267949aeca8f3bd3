/* A train of probes as both senders pace it, and the flags that say what it is. */
#ifndef PROBE_TRAIN_H
#define PROBE_TRAIN_H

#include <stdint.h>

#include "json.h"
#include "options.h"
#include "probe_arrivals.h"
#include "probe_packet.h"

struct probe_train {
    uint64_t number, count, size, interval_ns, settle_ns, most;
};

struct probe_train probe_train_defaults(void);

/* option_spec initialisers, for use inside a table. */
#define PROBE_TRAIN_OPTIONS(train)                                                                                                   \
    {.name = "train", .kind = OPTION_COUNT, .target = &(train)->number, .value = "N", .high = UINT32_MAX,                            \
     .help = "which measurement it is"},                                                                                             \
    {.name = "count", .kind = OPTION_COUNT, .target = &(train)->count, .value = "N", .low = 1, .high = 1e7,                          \
     .help = "packets of the train"},                                                                                                \
    {.name = "size", .kind = OPTION_COUNT, .target = &(train)->size, .value = "BYTES", .low = sizeof(struct probe_packet),           \
     .high = PROBE_MOST_BYTES, .help = "UDP payload, the same for both"},                                                            \
    {.name = "interval", .kind = OPTION_DURATION, .target = &(train)->interval_ns, .value = "D", .high = 10e9,                       \
     .help = "between packets; 0s: as fast as it goes"},                                                                             \
    {.name = "settle", .kind = OPTION_DURATION, .target = &(train)->settle_ns, .value = "D", .high = 60e9,                           \
     .help = "for warm-up packets, before the train"},                                                                               \
    {.name = "most", .kind = OPTION_COUNT, .target = &(train)->most, .value = "N", .low = 1, .high = 1e7,                            \
     .help = "arrivals to keep"}

/* How far a sender has come. */
struct probe_pace {
    uint64_t began_ns, ended_ns;
    uint64_t sent;    /* the caller counts them up */
    uint64_t refused; /* of those, what the sender's own side had no room for: likewise */
    uint64_t late_max_ns;
};

/* How many packets of the train are to have been sent by now; notes how late the first of those that wait is. */
uint64_t probe_pace_due(struct probe_pace *pace, const struct probe_train *train, uint64_t now_ns);

/* When the next is due. */
uint64_t probe_pace_next_ns(const struct probe_pace *pace, const struct probe_train *train);

/* Opens the sender's `summary` line. */
void probe_pace_write(const struct probe_pace *pace, const struct probe_train *train, struct json *json);

#endif
