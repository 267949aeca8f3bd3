/* How much memory this process may still take before the machine or its container runs out. */
#ifndef USERVER_MEMORY_H
#define USERVER_MEMORY_H

#include <stdint.h>

/* Bytes; the smaller of what the machine has left and the limit of the control group (v1 or v2). UINT64_MAX if unknown. */
uint64_t memory_available(void);

#endif
