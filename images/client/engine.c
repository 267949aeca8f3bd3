#include "engine.h"

#include <stdio.h>
#include <string.h>

static struct engine_entry *first_engine;

void engine_register(struct engine_entry *entry)
{
    entry->next = first_engine;
    first_engine = entry;
}

const struct engine_operations *engine_find(const char *name)
{
    for (const struct engine_entry *each = first_engine; each; each = each->next)
        if (strcmp(each->operations->name, name) == 0)
            return each->operations;
    return NULL;
}

const char *engine_names(void)
{
    static char names[128];
    size_t used = 0;
    names[0] = '\0';
    for (const struct engine_entry *each = first_engine; each && used < sizeof names; each = each->next)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? " " : "", each->operations->name);
    return names;
}
