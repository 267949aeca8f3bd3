#include "turn.h"

#include <linux/sched/types.h>
#include <sys/syscall.h>
#include <unistd.h>

uint64_t turn_shorten(uint64_t length_ns)
{
    struct sched_attr now = {.size = sizeof now};
    if (syscall(SYS_sched_getattr, 0, &now, sizeof now, 0) != 0)
        return 0;
    struct sched_attr wanted = {.size = sizeof wanted, .sched_policy = now.sched_policy, .sched_nice = now.sched_nice, .sched_runtime = length_ns};
    syscall(SYS_sched_setattr, 0, &wanted, 0);
    if (syscall(SYS_sched_getattr, 0, &now, sizeof now, 0) != 0)
        return 0;
    return now.sched_runtime;
}
