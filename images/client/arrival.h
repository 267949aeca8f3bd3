/*
 * Arrival processes. One is one file in arrival/ with a constructor that calls arrival_register().
 */
#ifndef CLIENT_ARRIVAL_H
#define CLIENT_ARRIVAL_H

#include "random.h"

struct arrival {
    const char *name;
    /* The time from one start to the next, given its mean; same unit as the mean, never negative. */
    double (*gap)(struct random_state *random, double mean);
    struct arrival *next; /* the registry's */
};

void arrival_register(struct arrival *arrival);
const struct arrival *arrival_find(const char *name); /* NULL if there is none */
/* Names with spaces between them, for messages; the text is the registry's. */
const char *arrival_names(void);

#define ARRIVAL_REGISTER(arrival)                                      \
    __attribute__((constructor)) static void register_arrival(void)    \
    {                                                                  \
        arrival_register(&(arrival));                                  \
    }

#endif
