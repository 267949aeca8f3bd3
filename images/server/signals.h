/*
 * Signals as flags that the loop looks at between waits, at no cost to the event path: no descriptor, no mask and no
 * call is added to a wait.
 *
 * A signal between the look and the wait would be slept over. So it repeats itself: the handler starts a timer whose
 * own signal interrupts the wait again every few milliseconds until the loop has taken the flags.
 */
#ifndef USERVER_SIGNALS_H
#define USERVER_SIGNALS_H

#include <stdint.h>

enum {
    SIGNAL_STOP = 1,     /* SIGTERM or SIGINT */
    SIGNAL_COUNTERS = 2, /* SIGUSR1 */
    SIGNAL_INTERVAL = 4, /* the interval has passed */
};

/* `interval_ns` 0: no interval. Returns 0, or -1 with errno. */
int signals_open(uint64_t interval_ns);

/* The SIGNAL_… bits since the last call. */
unsigned signals_take(void);

#endif
