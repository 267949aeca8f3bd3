#define _GNU_SOURCE
#include "program.h"

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "json.h"

volatile sig_atomic_t program_stopped;

static void stop(int signal_number)
{
    (void)signal_number;
    program_stopped = 1;
}

void program_prepare(void)
{
    struct sigaction action = {.sa_handler = stop}; /* without SA_RESTART: the wait must end */
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    /* Starts are scheduled to the microsecond; the default slack is 50 of them. */
    prctl(PR_SET_TIMERSLACK, 1ul, 0ul, 0ul, 0ul);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files); /* the socket engine reports what it lacks then */
    }
}

int program_error(const char *message)
{
    struct json json;
    json_line(&json, "error");
    json_string(&json, "message", message);
    json_end(&json, STDOUT_FILENO);
    fprintf(stderr, "%s\n", message);
    return 1;
}
