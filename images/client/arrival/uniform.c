/* Distances drawn evenly from nothing to twice the mean. */
#include "arrival.h"

static double gap(struct random_state *random, double mean)
{
    return 2 * mean * random_unit(random);
}

static struct arrival uniform = {.name = "uniform", .gap = gap};
ARRIVAL_REGISTER(uniform)
