/*
 * The contract of server/mechanism.h, held against one mechanism without the server around it. Linked by
 * test_userver_contract.py with every object of the server but main:
 *
 *     mechanism_contract NAME        0 if all holds; else a line that says what did not
 *
 * Only mechanisms that report readiness: completions have hooks of their own, which the HTTP suite goes through.
 */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "accounting.h"
#include "clock.h"
#include "mechanism.h"

#define DESCRIPTORS 512
#define LONG_MS 2000
#define QUIET_MS 30

static const struct mechanism *mechanism;
static uint32_t live[DESCRIPTORS]; /* generation; 0: nothing is registered */
static int step_line;

#define CHECK(condition) ((condition) ? (void)0 : broken(#condition, __LINE__))
#define STEP() (step_line = __LINE__)

static void broken(const char *what, int line)
{
    printf("%s: line %d (after %d): %s (errno %s)\n", mechanism->name, line, step_line, what, strerror(errno));
    exit(1);
}

/* A connected TCP pair; the first end is the one under test, non-blocking. */
static void connect_pair(int ends[2])
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof name;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    ends[1] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(listener, (struct sockaddr *)&name, sizeof name) == 0 && listen(listener, 1) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&name, &length) == 0);
    CHECK(connect(ends[1], (struct sockaddr *)&name, sizeof name) == 0);
    ends[0] = accept(listener, NULL, NULL);
    CHECK(ends[0] >= 0 && counted_set_nonblocking(ends[0]) == 0);
    close(listener);
}

static struct identity enter(int descriptor, uint32_t generation, unsigned interest)
{
    struct identity who = {descriptor, generation};
    live[descriptor] = generation;
    CHECK(mechanism->add(who, mechanism->fixed_interest ? EVENT_READ | EVENT_WRITE : interest) == 0);
    return who;
}

static void leave(struct identity who)
{
    CHECK(mechanism->del(who) == 0);
    live[who.descriptor] = 0;
}

/* Waits until `who` is reported with one of these bits. What was fetched before a del() may come after it, but only under
 * the generation it belongs to: the server drops it, and so is it done here. */
static bool reported(struct identity who, unsigned bits, int limit_ms)
{
    struct event events[DESCRIPTORS];
    uint64_t until = clock_now_ns() + (uint64_t)limit_ms * NS_PER_MS;
    while (clock_now_ns() < until) {
        int count = mechanism->wait(events, DESCRIPTORS, 5);
        CHECK(count >= 0 || errno == EINTR);
        bool found = false;
        for (int i = 0; i < count; i++) {
            CHECK(events[i].ready != 0 && events[i].who.generation != 0);
            CHECK(live[events[i].who.descriptor] == 0 || events[i].who.generation <= live[events[i].who.descriptor]);
            found |= identity_pack(events[i].who) == identity_pack(who) && (events[i].ready & bits);
        }
        if (found)
            return true;
    }
    return false;
}

static void settle(struct identity who)
{
    if (mechanism->fixed_interest) /* what is possible from the start, or is reported again and again */
        (void)reported(who, 0, QUIET_MS);
}

static void check_readiness(void)
{
    int ends[2];
    char byte;
    uint64_t began = clock_now_ns();
    connect_pair(ends);
    STEP();
    struct identity who = enter(ends[0], 7, EVENT_READ);
    settle(who);
    CHECK(mechanism->fixed_interest || !reported(who, ~0u, QUIET_MS)); /* nothing to read */
    STEP();
    CHECK(write(ends[1], "a", 1) == 1);
    CHECK(reported(who, EVENT_READ, LONG_MS));
    CHECK(mechanism->edge_triggered || reported(who, EVENT_READ, LONG_MS)); /* level: as long as it is so */
    CHECK(read(ends[0], &byte, 1) == 1);
    if (!mechanism->fixed_interest) {
        STEP();
        CHECK(mechanism->mod(who, EVENT_WRITE) == 0);
        CHECK(reported(who, EVENT_WRITE, LONG_MS));
        CHECK(write(ends[1], "b", 1) == 1);
        CHECK(!reported(who, EVENT_READ, QUIET_MS)); /* not asked for */
        CHECK(mechanism->mod(who, EVENT_READ) == 0);
        CHECK(reported(who, EVENT_READ, LONG_MS));
        CHECK(!reported(who, EVENT_WRITE, QUIET_MS));
        CHECK(read(ends[0], &byte, 1) == 1);
        CHECK(mechanism->mod(who, EVENT_WRITE) == 0 && mechanism->mod(who, EVENT_READ) == 0); /* the last one counts */
        CHECK(!reported(who, ~0u, QUIET_MS));
        STEP();
        CHECK(mechanism->mod(who, EVENT_WRITE) == 0); /* the kernel was asked, and has not answered: it is asked anew */
        CHECK(reported(who, EVENT_WRITE, LONG_MS));
        CHECK(mechanism->mod(who, EVENT_READ) == 0);
        CHECK(!reported(who, ~0u, QUIET_MS));
    }
    STEP();
    close(ends[1]);
    CHECK(reported(who, EVENT_READ, LONG_MS)); /* the end of the stream */
    leave(who);
    while (reported(who, ~0u, QUIET_MS)) /* fetched before; it ends */
        CHECK(clock_now_ns() - began < 10ull * LONG_MS * NS_PER_MS);
    close(ends[0]);
}

static void check_failure(void)
{
    int ends[2];
    struct linger now = {.l_onoff = 1};
    connect_pair(ends);
    struct identity who = enter(ends[0], 3, EVENT_READ);
    settle(who);
    STEP();
    CHECK(setsockopt(ends[1], SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0);
    close(ends[1]);
    CHECK(reported(who, EVENT_READ, LONG_MS)); /* a reset is met by whatever is waited for */
    leave(who);
    close(ends[0]);
}

/* Nothing of the mechanism may keep a deleted connection open: its peer sees the close. */
static void check_close(void)
{
    int ends[2];
    char byte;
    struct timeval limit = {.tv_sec = LONG_MS / 1000};
    connect_pair(ends);
    STEP();
    struct identity who = enter(ends[0], 5, EVENT_READ);
    (void)reported(who, 0, QUIET_MS); /* so that the kernel watches it */
    leave(who);
    close(ends[0]);
    CHECK(setsockopt(ends[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    CHECK(read(ends[1], &byte, 1) == 0);
    close(ends[1]);
}

/* The number of a deleted registration belongs to another connection at once, before any wait. */
static void check_reuse(bool waited, bool modified)
{
    int old[2], fresh[2];
    connect_pair(old);
    connect_pair(fresh);
    STEP();
    struct identity former = enter(old[0], 10, EVENT_READ);
    CHECK(write(old[1], "stale", 5) == 5); /* its event is due, queued or already on its way */
    if (waited)
        CHECK(reported(former, EVENT_READ, LONG_MS));
    if (modified && !mechanism->fixed_interest)
        CHECK(mechanism->mod(former, EVENT_WRITE) == 0);
    (void)!write(old[1], "more", 4);
    leave(former);
    STEP();
    CHECK(dup2(fresh[0], former.descriptor) == former.descriptor); /* closes the old one, takes its number */
    close(fresh[0]);
    struct identity heir = enter(former.descriptor, 11, EVENT_READ);
    settle(heir);
    CHECK(mechanism->fixed_interest || !reported(heir, ~0u, QUIET_MS)); /* there is nothing for it to read */
    CHECK(write(fresh[1], "x", 1) == 1);
    CHECK(reported(heir, EVENT_READ, LONG_MS));
    leave(heir);
    close(heir.descriptor);
    close(old[1]);
    close(fresh[1]);
}

static void ignore(int number)
{
    (void)number;
}

static void check_waiting(void)
{
    struct event events[DESCRIPTORS];
    uint64_t began = clock_now_ns();
    STEP();
    CHECK(mechanism->wait(events, DESCRIPTORS, 0) == 0);
    CHECK(clock_now_ns() - began < 500 * NS_PER_MS);
    CHECK(mechanism->wait(events, DESCRIPTORS, 50) == 0);
    CHECK(clock_now_ns() - began >= 45 * NS_PER_MS);
    STEP();
    struct sigaction action = {.sa_handler = ignore, .sa_flags = SA_RESTART};
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    struct itimerspec soon = {.it_value.tv_nsec = 20 * 1000 * 1000};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0 && timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK(timer_settime(timer, 0, &soon, NULL) == 0);
    CHECK(mechanism->wait(events, DESCRIPTORS, -1) == -1 && errno == EINTR); /* a signal ends a wait without limit */
    timer_delete(timer);
}

static void check_many(void)
{
    enum { PAIRS = 60 };
    int ends[PAIRS][2];
    struct identity who[PAIRS];
    STEP();
    for (int i = 0; i < PAIRS; i++) {
        connect_pair(ends[i]);
        who[i] = enter(ends[i][0], 100 + (uint32_t)i, EVENT_READ);
    }
    for (int i = 0; i < PAIRS; i += 2) { /* every other one goes: the rest must be unharmed */
        leave(who[i]);
        close(ends[i][0]);
    }
    for (int i = PAIRS - 1; i > 0; i -= 2) {
        CHECK(write(ends[i][1], "x", 1) == 1);
        CHECK(reported(who[i], EVENT_READ, LONG_MS));
        leave(who[i]);
        close(ends[i][0]);
    }
    for (int i = 0; i < PAIRS; i++)
        close(ends[i][1]);
}

int main(int argc, char **argv)
{
    mechanism = argc == 2 ? mechanism_find(argv[1]) : NULL;
    if (!mechanism || mechanism->recv || mechanism_check(mechanism))
        return 2;
    CHECK(mechanism->open(DESCRIPTORS) == 0);
    check_readiness();
    check_failure();
    check_close();
    for (int variant = 0; variant < 4; variant++)
        check_reuse(variant & 1, variant & 2);
    check_waiting();
    check_many();
    mechanism->close();
    return 0;
}
