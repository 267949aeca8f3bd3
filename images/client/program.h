/* What both programs do at their start and end: signals, timers, error lines. */
#ifndef CLIENT_PROGRAM_H
#define CLIENT_PROGRAM_H

#include <signal.h>

/* Set by SIGTERM and SIGINT. */
extern volatile sig_atomic_t program_stopped;

void program_prepare(void);
/* Prints an `error` line; returns the exit status 1. */
int program_error(const char *message);

#endif
