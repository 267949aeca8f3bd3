#include "settings.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

/* Parses "ADDR[,ADDR…]" into a struct settings. */
static const char *parse_addresses(const char *text, void *target)
{
    static const char allowed[] = "1 to 8 different IPv4 addresses with commas between them";
    struct settings *settings = target;
    settings->bind_text = text;
    settings->address_count = 0;
    for (const char *at = text;; at++) {
        char address[INET_ADDRSTRLEN];
        size_t length = strcspn(at, ",");
        if (length >= sizeof address || settings->address_count == MOST_LISTENERS)
            return allowed;
        memcpy(address, at, length);
        address[length] = '\0';
        struct in_addr *parsed = &settings->addresses[settings->address_count];
        if (inet_pton(AF_INET, address, parsed) != 1)
            return allowed;
        for (int i = 0; i < settings->address_count; i++)
            if (settings->addresses[i].s_addr == parsed->s_addr)
                return allowed;
        settings->address_count++;
        at += length;
        if (!*at)
            return NULL;
    }
}

static void list_mechanisms(bool probe, unsigned connections)
{
    for (const struct mechanism *each = mechanism_next(NULL); each; each = mechanism_next(each)) {
        const char *reason = probe && each->probe ? each->probe(connections) : NULL;
        if (!probe)
            printf("%s\n", each->name);
        else if (reason)
            printf("%s unavailable: %s\n", each->name, reason);
        else
            printf("%s ok\n", each->name);
    }
    exit(0);
}

static void choose_mechanism(struct settings *settings, const char *name)
{
    settings->mechanism = mechanism_find(name);
    if (!settings->mechanism)
        options_fail("--mech: '%s' is not a mechanism; see --list-mechs", name);
    const char *missing = mechanism_check(settings->mechanism);
    if (missing)
        options_fail("mechanism %s lacks a required operation: %s", name, missing);
}

struct settings settings_parse(int argc, char **argv)
{
    struct settings settings = {
        .port = 8080,
        .accept_limit = OPTION_INFINITE,
        .backlog = 128,
        .max_connections = 15000,
    };
    const char *mechanism = "epoll-lt";
    bool list = false, probe = false;
    parse_addresses("0.0.0.0", &settings);
    const struct option_spec specs[] = {
        {.name = "mech", .kind = OPTION_TEXT, .target = &mechanism, .value = "NAME", .help = "event mechanism, one of --list-mechs"},
        {.name = "bind", .kind = OPTION_CUSTOM, .target = &settings, .value = "ADDR[,ADDR…]", .parse = parse_addresses,
         .help = "addresses to listen on, one listener each [0.0.0.0]"},
        {.name = "port", .kind = OPTION_COUNT, .target = &settings.port, .value = "N", .low = 0, .high = 65535,
         .help = "port of every listener; 0 takes a free one and the ready line says which"},
        {.name = "docroot", .kind = OPTION_TEXT, .target = &settings.docroot, .value = "DIR", .help = "files to serve, all cached at start"},
        {.name = "accept-limit", .kind = OPTION_COUNT_INF, .target = &settings.accept_limit, .value = "N|inf", .low = 1, .high = 1e9,
         .help = "most connections accepted at a time from a listener before others are served"},
        {.name = "backlog", .kind = OPTION_COUNT, .target = &settings.backlog, .value = "N", .low = 1, .high = 65535,
         .help = "of listen(2)"},
        {.name = "max-connections", .kind = OPTION_COUNT, .target = &settings.max_connections, .value = "N", .low = 1, .high = 1e6,
         .help = "open at a time; with that many, the listeners rest until one closes"},
        {.name = "accept4", .kind = OPTION_SWITCH, .target = &settings.accept4,
         .help = "make connections non-blocking by accept4(2) instead of two fcntl(2)"},
        {.name = "profile", .kind = OPTION_SWITCH, .target = &settings.profile, .help = "time every system call with the TSC"},
        {.name = "interval", .kind = OPTION_DURATION, .target = &settings.interval_ns, .value = "TIME", .low = 1e7, .high = 3600e9,
         .help = "print an interval line this often; without it only on SIGUSR1, with every counter"},
        {.name = "list-mechs", .kind = OPTION_SWITCH, .target = &list, .help = "print the mechanisms, one a line, and exit"},
        {.name = "probe", .kind = OPTION_SWITCH, .target = &probe, .help = "with --list-mechs: say which of them work here"},
        {.name = NULL},
    };
    options_parse(argc, argv, "static web server for comparing event mechanisms", specs);
    if (probe && !list)
        options_fail("--probe goes with --list-mechs");
    if (list)
        list_mechanisms(probe, (unsigned)settings.max_connections);
    if (!settings.docroot)
        options_fail("--docroot is required: the directory of files to serve");
    choose_mechanism(&settings, mechanism);
    return settings;
}
