#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "clock.h"

#define REPEAT_NS (5 * NS_PER_MS)

static atomic_uint flags;
static timer_t repeat_timer, interval_timer;

static int set_timer(timer_t timer, uint64_t period_ns)
{
    struct timespec period = {.tv_sec = (time_t)(period_ns / NS_PER_S), .tv_nsec = (long)(period_ns % NS_PER_S)};
    struct itimerspec setting = {.it_interval = period, .it_value = period};
    return timer_settime(timer, 0, &setting, NULL);
}

static void on_signal(int number)
{
    int saved = errno;
    if (number == SIGTERM || number == SIGINT)
        atomic_fetch_or(&flags, SIGNAL_STOP);
    else if (number == SIGUSR1)
        atomic_fetch_or(&flags, SIGNAL_COUNTERS);
    else if (number == SIGVTALRM)
        atomic_fetch_or(&flags, SIGNAL_INTERVAL);
    /* SIGALRM is the repetition itself: it ends when there is nothing left to repeat. */
    if (number != SIGALRM)
        set_timer(repeat_timer, REPEAT_NS);
    else if (atomic_load(&flags) == 0)
        set_timer(repeat_timer, 0);
    errno = saved;
}

int signals_open(uint64_t interval_ns)
{
    static const int handled[] = {SIGTERM, SIGINT, SIGUSR1, SIGVTALRM, SIGALRM};
    struct sigevent repeat = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    struct sigevent interval = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGVTALRM};
    if (timer_create(CLOCK_MONOTONIC, &repeat, &repeat_timer) != 0 || timer_create(CLOCK_MONOTONIC, &interval, &interval_timer) != 0)
        return -1;
    /* SA_RESTART: only the waits, which are never restarted, are to be interrupted. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof handled / sizeof *handled; i++)
        sigaddset(&action.sa_mask, handled[i]);
    for (size_t i = 0; i < sizeof handled / sizeof *handled; i++)
        if (sigaction(handled[i], &action, NULL) != 0)
            return -1;
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    if (sigaction(SIGPIPE, &ignore, NULL) != 0) /* a write to a dead peer is an error of that write */
        return -1;
    /* Whoever started the server may have had them blocked. */
    if (sigprocmask(SIG_UNBLOCK, &action.sa_mask, NULL) != 0)
        return -1;
    return interval_ns ? set_timer(interval_timer, interval_ns) : 0;
}

unsigned signals_take(void)
{
    if (atomic_load_explicit(&flags, memory_order_relaxed) == 0)
        return 0;
    return atomic_exchange(&flags, 0);
}
