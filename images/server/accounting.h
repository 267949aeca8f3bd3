/*
 * What every system call of the server costs: always counted, timed only under --profile.
 *
 * Each kind of call has one static counter beside its wrapper, so a mechanism that needs a call of its own
 * declares it in its own file and the summary finds it:
 *
 *     static struct call_counter submit = CALL_COUNTER("io_submit");
 *     …
 *     long result = COUNTED(&submit, syscall(SYS_io_submit, context, count, list));
 *
 * The call in which a mechanism sleeps is a WAIT_COUNTER: its CPU time is taken as well, for most of the time that it takes may
 * be sleep.
 */
#ifndef USERVER_ACCOUNTING_H
#define USERVER_ACCOUNTING_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "clock.h"
#include "json.h"
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

struct call_counter {
    const char *name;
    uint64_t calls;
    uint64_t bytes;  /* moved by the call, where it moves any */
    uint64_t again;  /* EAGAIN */
    uint64_t errors; /* every other error, EINTR included */
    uint64_t ticks;  /* of the TSC, only with accounting.profile */
    uint64_t cpu_ns; /* of this thread, likewise, and only of calls that may sleep */
    struct call_counter *next;
    bool waits; /* it may sleep */
    bool listed;
};

#define CALL_COUNTER(NAME) {.name = (NAME)}
#define WAIT_COUNTER(NAME) {.name = (NAME), .waits = true}

/* Everything that is not tied to one connection. Plain counters: the server has one thread. */
struct accounting {
    bool profile; /* set once, before the first call */
    uint64_t waits, events, useless_waits, useless_events, stale_events;
    uint64_t interest_changes, listener_parked;
    uint64_t accepted, replies, closed_by_peer, closed_by_server, resets, bad_requests;
    struct {
        uint64_t emfile, connaborted, nobufs, other;
    } accept_errors;
    uint64_t open_connections;
};

extern struct accounting accounting;

/* Adds a counter to the list of the summary; done by the first call that uses it. */
void accounting_list(struct call_counter *counter);

/* Starts --profile. Returns NULL, or why this machine's TSC cannot be used for it. */
const char *accounting_profile_start(void);

/* "syscalls": {NAME: {calls, bytes, again, errors, waits[, time_ns[, cpu_ns]]}, …} of every call made at least once. */
void accounting_write_calls(struct json *json);

void accounting_record_wait(int events);
void accounting_record_accept_phase(uint64_t accepted);
void accounting_write_histograms(struct json *json);

static inline uint64_t accounting_ticks(void)
{
#if defined(__x86_64__)
    unsigned processor;
    return __rdtscp(&processor);
#else
    return 0; /* accounting_profile_start() refuses here */
#endif
}

struct call_begin {
    uint64_t ticks, cpu_ns;
};

static inline struct call_begin accounting_begin(const struct call_counter *counter)
{
    struct call_begin began = {0};
    if (accounting.profile) {
        began.cpu_ns = counter->waits ? clock_thread_cpu_ns() : 0;
        began.ticks = accounting_ticks();
    }
    return began;
}

static inline void accounting_finish(struct call_counter *counter, struct call_begin began, long result)
{
    if (accounting.profile) {
        int saved = errno;
        counter->ticks += accounting_ticks() - began.ticks;
        if (counter->waits)
            counter->cpu_ns += clock_thread_cpu_ns() - began.cpu_ns;
        errno = saved;
    }
    if (counter->calls++ == 0 && !counter->listed)
        accounting_list(counter);
    if (result < 0) {
        if (errno == EAGAIN)
            counter->again++;
        else
            counter->errors++;
    }
}

/* The value of a call that reports failure as -1 and errno; errno survives. ACCOUNTING_OFF is for the benchmark that
 * measures what counting costs (tests/benchmark/accounting_cost.py), and for nothing else. */
#ifdef ACCOUNTING_OFF
#define COUNTED(counter, call) ((void)(counter), (long)(call))
#else
#define COUNTED(counter, call)                                                      \
    ({                                                                              \
        struct call_begin counted_began = accounting_begin(counter);                \
        long counted_result = (long)(call);                                         \
        accounting_finish((counter), counted_began, counted_result);                \
        counted_result;                                                             \
    })
#endif

/* The same for a call whose result is a number of bytes. */
#define COUNTED_BYTES(counter, call)                                \
    ({                                                              \
        long moved_bytes = COUNTED((counter), (call));              \
        if (moved_bytes > 0)                                        \
            (counter)->bytes += (uint64_t)moved_bytes;              \
        moved_bytes;                                                \
    })

/* The calls of the connection path. Same results and errno as the calls they are named after. */
ssize_t counted_read(int descriptor, void *buffer, size_t room);
ssize_t counted_write(int descriptor, const void *data, size_t length);
ssize_t counted_sendfile(int out, int in, off_t *offset, size_t length);
int counted_accept(int listener, bool one_call);
int counted_fcntl(int descriptor, int command, int argument);
int counted_set_nonblocking(int descriptor); /* two fcntl(2) */
int counted_cork(int descriptor, bool on);
int counted_shutdown_write(int descriptor);
int counted_close(int descriptor);

#endif
