/* How long a program that shares a CPU with others of its kind goes on before the next has its turn. */
#ifndef TESTBED_TURN_H
#define TESTBED_TURN_H

#include <stdint.h>

/* Ask for turns of that length (sched_setattr(2), sched_runtime; Linux 6.12 and later take it for ordinary processes, 0.1 to
 * 100 ms, and use some 3 ms otherwise). Needs no privilege. Returns what is now in force, 0 where the kernel does not say. */
uint64_t turn_shorten(uint64_t length_ns);

#endif
