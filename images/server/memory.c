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

static uint64_t group_leaves(const char *limit_path, const char *used_path)
{
    uint64_t limit = read_number(limit_path, "%llu", UINT64_MAX);
    uint64_t used = read_number(used_path, "%llu", 0);
    return used < limit ? limit - used : 0;
}

uint64_t memory_available(void)
{
    uint64_t machine_kib = read_number("/proc/meminfo", "MemAvailable: %llu kB", UINT64_MAX / 1024);
    uint64_t least = machine_kib * 1024;
    /* Inside a container its own group is mounted here; elsewhere these are the machine's, without a limit. */
    uint64_t leaves[] = {
        group_leaves("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        group_leaves("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    };
    for (int i = 0; i < 2; i++)
        if (leaves[i] < least)
            least = leaves[i];
    return least;
}
