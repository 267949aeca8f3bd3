/* A link must not wait for the programs that it carries packets for, nor a probe for those beside it. */
#ifndef TESTBED_PRIORITY_H
#define TESTBED_PRIORITY_H

/* Exact timers, and the best priority that is granted: "realtime" (of that level), "high" (nice -20; where control
 * groups forbid real time, as in containers), or "normal". Both need SYS_NICE. */
const char *priority_raise(int level);

#endif
