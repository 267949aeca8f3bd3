#define _GNU_SOURCE /* SCHED_RESET_ON_FORK */
#include "priority.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define HIGHEST_NICE (-20)

const char *priority_raise(int level)
{
    prctl(PR_SET_TIMERSLACK, 1);
    struct sched_param parameter = {.sched_priority = level};
    if (sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &parameter) == 0)
        return "realtime";
    return setpriority(PRIO_PROCESS, 0, HIGHEST_NICE) == 0 ? "high" : "normal";
}
