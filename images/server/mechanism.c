#include "mechanism.h"

#include <stdlib.h>
#include <string.h>

#define MOST_MECHANISMS 64

static const struct mechanism *mechanisms[MOST_MECHANISMS]; /* sorted by name */
static int known;

void mechanism_register(const struct mechanism *mechanism)
{
    if (known == MOST_MECHANISMS)
        abort(); /* a mistake of the build: constructors have nobody to report to */
    int at = known++;
    for (; at > 0 && strcmp(mechanisms[at - 1]->name, mechanism->name) > 0; at--)
        mechanisms[at] = mechanisms[at - 1];
    mechanisms[at] = mechanism;
}

const struct mechanism *mechanism_find(const char *name)
{
    for (int i = 0; i < known; i++)
        if (strcmp(mechanisms[i]->name, name) == 0)
            return mechanisms[i];
    return NULL;
}

const struct mechanism *mechanism_next(const struct mechanism *previous)
{
    int at = 0;
    while (previous && at < known && mechanisms[at] != previous)
        at++;
    if (previous)
        at++;
    return at < known ? mechanisms[at] : NULL;
}

const char *mechanism_check(const struct mechanism *mechanism)
{
    bool completes = mechanism->accept || mechanism->recv || mechanism->send;
    if (!mechanism->open)
        return "open";
    if (!mechanism->add)
        return "add";
    if (!mechanism->mod && !mechanism->fixed_interest && !mechanism->edge_triggered && !completes)
        return "mod";
    if (!mechanism->del)
        return "del";
    if (!mechanism->wait)
        return "wait";
    if (!mechanism->close)
        return "close";
    if (completes && !(mechanism->accept && mechanism->recv && mechanism->send))
        return "accept, recv and send (all three or none)";
    return NULL;
}
