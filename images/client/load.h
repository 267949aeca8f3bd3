/*
 * Open-loop load: sessions start at times drawn beforehand, whatever became of the earlier ones.
 *
 * Every start that was due is attempted, and every attempt ends as completed or in exactly one error class.
 */
#ifndef CLIENT_LOAD_H
#define CLIENT_LOAD_H

#include <signal.h>

#include "arrival.h"
#include "engine.h"
#include "http_reply.h"
#include "session.h"
#include "tally.h"
#include "think.h"

struct load_settings {
    double rate_per_s;
    const struct arrival *arrival;
    uint64_t seed;
    uint64_t start_at_ns; /* CLOCK_MONOTONIC; 0: at once */
    uint64_t warm_up_ns, window_ns, timeout_ns;
    uint64_t interval_ns; /* between two lines of counts */
    uint32_t most_in_flight;
    bool check_crc;
    uint32_t body_crc;
};

#define NO_RUN UINT32_MAX

/* A session on its way; in an array by connection number. */
struct run {
    uint64_t intended_ns; /* of the batch that is out: replies are timed from it … */
    uint64_t actual_ns;   /* … and from when it left */
    uint64_t started_ns;
    uint64_t deadline_ns; /* of the server's next sign of life */
    const struct session *session;
    uint32_t batch, replies_left;
    uint32_t older, newer; /* in the list by deadline */
    uint32_t generation;   /* tells a think time whether its session still runs */
    bool live, in_window, established, thinking, armed;
    struct http_reply reply;
};

struct load {
    struct load_settings settings;
    struct engine *engine;
    struct session_list sessions;
    struct random_state random;
    struct run *runs;
    struct think_heap thinking;
    uint32_t oldest, newest; /* runs by deadline: the time-out is the same for all, so a list is in order */
    uint32_t in_flight;
    uint32_t established;    /* of those, answered by the server */
    uint64_t counted_at_ns;  /* when the connections were counted last … */
    uint32_t counted_open, counted_established; /* … and how many there were */
    uint32_t next_session;
    double next_offset_ns;   /* of the next start from the first possible one; a double keeps fractions of a ns */
    uint64_t begin_ns, window_begin_ns, window_end_ns, next_start_ns, next_interval_ns;
    uint64_t cpu_at_begin_ns;
    bool window_open, window_done;
    bool starting;           /* false once a start would fall behind the window */
    struct tally whole;
    struct window_tally window;
    uint64_t other[OTHER_REASONS];
};

extern const struct engine_events load_events;

/* 0, or -1 when there is no memory. `engine` must have been opened with load_events and this load as owner. */
int load_prepare(struct load *load, struct engine *engine);
/* Runs to the end, or until *stop. Returns 0, or -1 with errno when the engine failed. */
int load_run(struct load *load, const volatile sig_atomic_t *stop);
void load_close(struct load *load);

/* load_session.c: what happens to one session. */
void load_start_one(struct load *load, uint64_t intended_ns, uint64_t now_ns);
void load_send_batch(struct load *load, uint32_t connection, uint64_t intended_ns);
void load_end(struct load *load, uint32_t connection, enum error_class error); /* the connection is gone already */
void load_abort(struct load *load, uint32_t connection, enum error_class error);
void load_disarm(struct load *load, uint32_t connection);

#endif
