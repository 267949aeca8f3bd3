/* Independent users: a Poisson process. */
#include <math.h>

#include "arrival.h"

static double gap(struct random_state *random, double mean)
{
    return -mean * log1p(-random_unit(random));
}

static struct arrival exponential = {.name = "exponential", .gap = gap};
ARRIVAL_REGISTER(exponential)
