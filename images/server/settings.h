/* The command line, parsed once and never changed. */
#ifndef USERVER_SETTINGS_H
#define USERVER_SETTINGS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "mechanism.h"

#define MOST_LISTENERS 8

struct settings {
    const struct mechanism *mechanism;
    const char *docroot;
    const char *bind_text; /* as given */
    struct in_addr addresses[MOST_LISTENERS];
    int address_count;
    uint64_t port;
    uint64_t accept_limit; /* accepts a phase and listener; OPTION_INFINITE: until there is nothing to accept */
    uint64_t backlog;
    uint64_t max_connections;
    uint64_t interval_ns; /* 0: no interval lines of their own accord */
    bool accept4;
    bool profile;
};

/* Handles --help, --list-mechs and every bad value itself: prints and exits (2 for bad values). */
struct settings settings_parse(int argc, char **argv);

#endif
