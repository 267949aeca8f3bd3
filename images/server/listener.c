#define _GNU_SOURCE /* SOCK_NONBLOCK */
#include "listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "accounting.h"
#include "clock.h"
#include "connection.h"
#include "options.h"

#define RETRY_NS (100 * NS_PER_MS)
#define RETRY_MS 100

enum parked { PARKED_NOT, PARKED_FULL, PARKED_SHORTAGE };

struct listener {
    int descriptor;
    bool ready; /* there may be something to accept */
};

static struct {
    const struct mechanism *mechanism;
    const struct settings *settings;
    struct listener each[MOST_LISTENERS];
    int count;
    int highest; /* descriptor */
    uint64_t max_connections;
    unsigned port;
    enum parked parked;
    uint64_t parked_with; /* open connections */
    uint64_t retry_at_ns;
    bool hooked;       /* the mechanism accepts by itself */
    uint64_t headroom; /* free places that hooked accepts may overshoot into */
    char error[160];
} listeners;

static int failed(const char *what, struct in_addr address)
{
    char text[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &address, text, sizeof text);
    snprintf(listeners.error, sizeof listeners.error, "cannot %s %s:%u: %s", what, text, listeners.port, strerror(errno));
    return -1;
}

static int open_one(struct in_addr address, uint64_t backlog)
{
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return failed("open a socket for", address);
    listeners.each[listeners.count++].descriptor = descriptor;
    if (descriptor > listeners.highest)
        listeners.highest = descriptor;
    int on = 1;
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr = address, .sin_port = htons((uint16_t)listeners.port)};
    socklen_t length = sizeof name;
    if (setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0)
        return failed("set options for", address);
    if (bind(descriptor, (struct sockaddr *)&name, sizeof name) != 0)
        return failed("bind", address);
    if (listen(descriptor, (int)backlog) != 0)
        return failed("listen on", address);
    if (getsockname(descriptor, (struct sockaddr *)&name, &length) != 0)
        return failed("name", address);
    listeners.port = ntohs(name.sin_port); /* of the first one if any port would do: the others follow */
    return 0;
}

int listeners_open(const struct settings *settings)
{
    listeners.settings = settings;
    listeners.port = (unsigned)settings->port;
    for (int i = 0; i < settings->address_count; i++)
        if (open_one(settings->addresses[i], settings->backlog) != 0)
            return -1;
    return 0;
}

const char *listeners_error(void)
{
    return listeners.error;
}

unsigned listeners_port(void)
{
    return listeners.port;
}

/* Completions of accepts cannot be called back one by one, so near the limit, and with an accept limit, the
 * listeners are only watched and accepted from by hand. */
static bool should_hook(void)
{
    uint64_t taken = accounting.open_connections + listeners.headroom * (listeners.hooked ? 1 : 2);
    return listeners.mechanism->accept && listeners.settings->accept_limit == OPTION_INFINITE && taken < listeners.max_connections;
}

static int enter(void)
{
    listeners.hooked = should_hook();
    for (int i = 0; i < listeners.count; i++) {
        int descriptor = listeners.each[i].descriptor;
        connection_mark_listener(descriptor, true); /* a new generation: what was reported before does not count */
        struct identity who = connection_identity(connection_at(descriptor));
        int result = listeners.hooked ? listeners.mechanism->accept(who) : listeners.mechanism->add(who, EVENT_READ | EVENT_LISTENER);
        if (result != 0)
            return -1;
    }
    return 0;
}

static void leave(void)
{
    for (int i = 0; i < listeners.count; i++) {
        struct identity who = connection_identity(connection_at(listeners.each[i].descriptor));
        (void)listeners.mechanism->del(who); /* counted; a listener that stays is an event too many, not a fault */
        listeners.each[i].ready = false;
    }
}

int listeners_start(const struct mechanism *mechanism, uint64_t max_connections)
{
    listeners.mechanism = mechanism;
    listeners.max_connections = max_connections;
    listeners.headroom = 4 * listeners.settings->backlog * (uint64_t)listeners.count;
    return enter();
}

static void park(enum parked why)
{
    if (listeners.parked == PARKED_NOT) {
        leave();
        accounting.listener_parked++;
    }
    listeners.parked = why;
    listeners.parked_with = accounting.open_connections;
    if (why == PARKED_SHORTAGE)
        listeners.retry_at_ns = clock_now_ns() + RETRY_NS;
}

static bool may_return(void)
{
    if (listeners.parked == PARKED_FULL)
        return accounting.open_connections < listeners.max_connections;
    return accounting.open_connections < listeners.parked_with || clock_now_ns() >= listeners.retry_at_ns;
}

int listeners_before_wait(void)
{
    if (listeners.parked != PARKED_NOT && may_return()) {
        listeners.parked = PARKED_NOT;
        if (enter() != 0)
            park(PARKED_SHORTAGE);
    } else if (listeners.parked == PARKED_NOT && listeners.hooked != should_hook()) {
        leave();
        if (enter() != 0)
            park(PARKED_SHORTAGE);
    }
    for (int i = 0; i < listeners.count; i++)
        if (listeners.each[i].ready)
            return 0;
    return listeners.parked == PARKED_SHORTAGE ? RETRY_MS : -1;
}

/* Counts the error. False if the phase must end. */
static bool accept_failed(struct listener *listener, int error)
{
    switch (error) {
    case EAGAIN:
        listener->ready = false;
        return false;
    case EINTR:
        return true;
    case ECONNABORTED: /* and what else accept(2) passes on from a connection that died in the queue */
    case EPROTO:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENOPROTOOPT:
        accounting.accept_errors.connaborted++;
        return true;
    case EMFILE:
    case ENFILE:
        accounting.accept_errors.emfile++;
        break;
    case ENOBUFS:
    case ENOMEM:
        accounting.accept_errors.nobufs++;
        break;
    default:
        accounting.accept_errors.other++;
    }
    park(PARKED_SHORTAGE);
    return false;
}

static bool take(int descriptor)
{
    bool completes = listeners.mechanism->recv; /* its connections stay blocking */
    if (!listeners.settings->accept4 && !completes && counted_set_nonblocking(descriptor) != 0) {
        (void)counted_close(descriptor);
        accounting.accept_errors.other++;
        return false;
    }
    if (connection_start(descriptor) == 0)
        return true;
    accounting.accept_errors.other++;
    return false;
}

static void accept_phase(struct listener *listener)
{
    uint64_t accepted = 0;
    bool go_on = true, one_call = listeners.settings->accept4 && !listeners.mechanism->recv;
    while (go_on && accepted < listeners.settings->accept_limit && accounting.open_connections < listeners.max_connections) {
        int descriptor = counted_accept(listener->descriptor, one_call);
        if (descriptor >= 0)
            accepted += take(descriptor);
        else
            go_on = accept_failed(listener, errno);
    }
    accounting_record_accept_phase(accepted);
    if (!listeners.mechanism->edge_triggered_listener)
        listener->ready = false; /* what is left will be reported again */
    if (accounting.open_connections >= listeners.max_connections && listeners.parked == PARKED_NOT)
        park(PARKED_FULL);
}

static void accept_completed(const struct event *event, uint64_t *accepted)
{
    struct listener *listener = NULL;
    for (int i = 0; i < listeners.count; i++)
        if (listeners.each[i].descriptor == event->who.descriptor)
            listener = &listeners.each[i];
    if (event->result >= 0)
        *accepted += take(event->result);
    else if (listener)
        (void)accept_failed(listener, -event->result);
}

int listeners_accept_phase(const struct event *events, int count)
{
    int found = 0;
    uint64_t completed = 0;
    for (int i = 0; i < count; i++) {
        const struct event *event = &events[i];
        if (event->who.descriptor > listeners.highest || connection_at(event->who.descriptor)->state != CONNECTION_LISTENER)
            continue;
        found++;
        if (event->ready & EVENT_ACCEPTED) {
            accept_completed(event, &completed); /* a descriptor of an older generation is as good as any */
            continue;
        }
        if (connection_at(event->who.descriptor)->generation != event->who.generation)
            continue;
        for (int at = 0; at < listeners.count; at++)
            if (listeners.each[at].descriptor == event->who.descriptor)
                listeners.each[at].ready = true;
    }
    if (completed)
        accounting_record_accept_phase(completed);
    for (int i = 0; i < listeners.count && listeners.parked == PARKED_NOT; i++)
        if (listeners.each[i].ready)
            accept_phase(&listeners.each[i]);
    return found;
}
