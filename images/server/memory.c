#include "memory.h"

#include <stdio.h>

/* The number on the first line, or `otherwise`; "max" is no number. */
static uint64_t read_number(const char *path, const char *format, uint64_t otherwise)
{
    unsigned long long value;
    char line[128];
    FILE *file = fopen(path, "re");
    if (!file)
        return otherwise;
    uint64_t found = otherwise;
    while (found == otherwise && fgets(line, sizeof line, file))
        if (sscanf(line, format, &value) == 1)
            found = value;
    fclose(file);
    return found;
}

uint64_t memory_available(void)
{
    uint64_t machine_kib = read_number("/proc/meminfo", "MemAvailable: %llu kB", UINT64_MAX / 1024);
    uint64_t least = machine_kib * 1024;
    /* Inside a container its own group is mounted here; elsewhere these are the machine's, without a limit. What the
     * group uses already is not subtracted: much of that is page cache, which gives way. */
    uint64_t limits[] = {
        read_number("/sys/fs/cgroup/memory.max", "%llu", UINT64_MAX),
        read_number("/sys/fs/cgroup/memory/memory.limit_in_bytes", "%llu", UINT64_MAX),
    };
    for (int i = 0; i < 2; i++)
        if (limits[i] < least)
            least = limits[i];
    return least;
}
