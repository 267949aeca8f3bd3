#include "arrival.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static struct arrival *first_arrival;

void arrival_register(struct arrival *arrival)
{
    arrival->next = first_arrival;
    first_arrival = arrival;
}

const struct arrival *arrival_find(const char *name)
{
    for (const struct arrival *each = first_arrival; each; each = each->next)
        if (strcmp(each->name, name) == 0)
            return each;
    return NULL;
}

const char *arrival_names(void)
{
    static char names[256];
    size_t used = 0;
    names[0] = '\0';
    for (const struct arrival *each = first_arrival; each && used < sizeof names; each = each->next)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? " " : "", each->name);
    return names;
}
