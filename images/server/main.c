/* The µserver: get events, accept, work; with whichever mechanism gets the events. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "accounting.h"
#include "cache.h"
#include "connection.h"
#include "listener.h"
#include "options.h"
#include "report.h"
#include "settings.h"
#include "signals.h"

#define RESERVED_DESCRIPTORS 16 /* the mechanism's own, and what a library may open for a moment */

__attribute__((noreturn)) static void fail(const char *what, int error)
{
    char message[640];
    snprintf(message, sizeof message, "%s%s%s", what, error ? ": " : "", error ? strerror(error) : "");
    report_error(message);
    fprintf(stderr, "userver: %s\n", message);
    exit(1);
}

__attribute__((noreturn)) static void fail_mechanism(const struct mechanism *mechanism, const char *what, int error)
{
    char message[256];
    snprintf(message, sizeof message, "mechanism %s %s", mechanism->name, what);
    fail(message, error);
}

/* How many descriptors are open, and the highest of them: what was inherited counts too. */
static void count_open(unsigned *count, unsigned *highest)
{
    *count = *highest = 0;
    DIR *directory = opendir("/proc/self/fd");
    if (!directory)
        fail("/proc/self/fd", errno);
    for (struct dirent *entry; (entry = readdir(directory));) {
        unsigned number = (unsigned)strtoul(entry->d_name, NULL, 10);
        (*count)++;
        if (number > *highest)
            *highest = number;
    }
    closedir(directory);
}

/* Raises the soft limit and lowers the number of connections to what it allows. Returns the size of the tables. */
static unsigned fit_descriptors(struct settings *settings)
{
    unsigned count, highest;
    count_open(&count, &highest);
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        fail("getrlimit", errno);
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        fail("setrlimit", errno);
    uint64_t reserved = count + RESERVED_DESCRIPTORS;
    if (limit.rlim_cur < reserved + 1)
        fail("the limit of open descriptors leaves none for connections", 0);
    if (settings->max_connections > limit.rlim_cur - reserved) {
        settings->max_connections = limit.rlim_cur - reserved;
        fprintf(stderr, "userver: --max-connections lowered to %llu: the limit of open descriptors is %llu\n",
                (unsigned long long)settings->max_connections, (unsigned long long)limit.rlim_cur);
    }
    return (unsigned)(highest + 1 + RESERVED_DESCRIPTORS + settings->max_connections);
}

/* One turn: events → accept phase → work phase. False if the wait failed. */
static bool turn(const struct mechanism *mechanism, struct event *events, int room)
{
    int count = mechanism->wait(events, room, listeners_before_wait());
    if (count < 0)
        return errno == EINTR;
    accounting_record_wait(count);
    int wanted = listeners_accept_phase(events, count);
    for (int i = 0; i < count; i++) {
        const struct connection *connection = connection_at(events[i].who.descriptor);
        if (connection->state == CONNECTION_LISTENER)
            continue;
        if (connection->state == CONNECTION_FREE || connection->generation != events[i].who.generation)
            accounting.stale_events++;
        else if (connection_event(&events[i]))
            wanted++;
        else
            accounting.useless_events++;
    }
    accounting.useless_waits += wanted == 0;
    return true;
}

static void serve(const struct settings *settings, struct event *events, int room)
{
    for (;;) {
        unsigned signals = signals_take();
        if (signals & SIGNAL_STOP)
            return;
        if (signals & SIGNAL_COUNTERS)
            report_counters(settings, "interval");
        if (signals & SIGNAL_INTERVAL)
            report_interval();
        if (!turn(settings->mechanism, events, room))
            fail_mechanism(settings->mechanism, "cannot wait for events", errno);
    }
}

static void check_available(const struct mechanism *mechanism, unsigned connections)
{
    const char *reason = mechanism->probe ? mechanism->probe(connections) : NULL;
    char what[256];
    snprintf(what, sizeof what, "is not available: %s", reason ? reason : "");
    if (reason)
        fail_mechanism(mechanism, what, 0);
}

int main(int argc, char **argv)
{
    struct settings settings = settings_parse(argc, argv);
    const struct mechanism *mechanism = settings.mechanism;
    check_available(mechanism, (unsigned)settings.max_connections);
    const char *untimed = settings.profile ? accounting_profile_start() : NULL;
    if (untimed)
        options_fail("--profile is not possible: %s", untimed);
    if (cache_open(settings.docroot) != 0)
        fail(cache_error(), 0);
    if (listeners_open(&settings) != 0)
        fail(listeners_error(), 0);
    if (signals_open(settings.interval_ns) != 0)
        fail("cannot set up signals", errno);

    unsigned descriptors = fit_descriptors(&settings);
    struct event *events = calloc(descriptors, sizeof *events);
    if (!events)
        fail("no memory for the events of so many connections", errno);
    if (mechanism->open(descriptors) != 0)
        fail_mechanism(mechanism, "cannot be opened for so many descriptors", errno);
    if (connections_open(mechanism, descriptors) != 0)
        fail("no memory for the table of connections", errno);
    if (listeners_start(mechanism, settings.max_connections) != 0)
        fail_mechanism(mechanism, "cannot watch the listeners", errno);

    report_ready(&settings);
    serve(&settings, events, (int)descriptors);
    report_counters(&settings, "summary");

    mechanism->close();
    connections_close();
    cache_close();
    free(events);
    return 0;
}
