/* Starts at equal distances. */
#include "arrival.h"

static double gap(struct random_state *random, double mean)
{
    (void)random;
    return mean;
}

static struct arrival deterministic = {.name = "deterministic", .gap = gap};
ARRIVAL_REGISTER(deterministic)
