/* Lacks what the contract requires: the server must say so at start, and not fall over later. */
#include "mechanism.h"

static int incomplete_open(unsigned descriptors)
{
    (void)descriptors;
    return 0;
}

static const struct mechanism incomplete_mechanism = {
    .name = "incomplete",
    .summary = "has no add, mod, del, wait and close",
    .open = incomplete_open,
};
MECHANISM_REGISTER(incomplete_mechanism)
