#include "shape_options.h"

#include <stdio.h>
#include <string.h>

#define MAX_DELAY_NS 60e9
#define MAX_RATE_BPS 100e9
#define MAX_LIMIT 1e6
#define DEFAULT_LIMIT 1000

static const char *parse_gemodel(const char *text, void *target)
{
    struct shape *shape = target;
    double to_bad, to_good, bad_loss = 1, good_loss = 0;
    char rest;
    int count = sscanf(text, "%lf,%lf,%lf,%lf%c", &to_bad, &to_good, &bad_loss, &good_loss, &rest);
    if (count < 2 || count > 4 || strspn(text, "0123456789.,e-") != strlen(text))
        return "two to four shares P,R[,1-H[,1-K]] from 0 to 1";
    double shares[] = {to_bad, to_good, bad_loss, good_loss};
    for (int i = 0; i < 4; i++)
        if (!(shares[i] >= 0 && shares[i] <= 1))
            return "two to four shares P,R[,1-H[,1-K]] from 0 to 1";
    if (to_good == 0)
        return "R above 0: the link would never leave the bad state";
    shape->bursts = true;
    shape->to_bad = to_bad;
    shape->to_good = to_good;
    shape->bad_loss = bad_loss;
    shape->good_loss = good_loss;
    return NULL;
}

void shape_options_specs(struct shape_options *options, struct option_spec *specs)
{
    options->shape.limit = DEFAULT_LIMIT;
    options->shape.seed = 1;
    options->distribution = distribution_names[DISTRIBUTION_UNIFORM];
    struct shape *shape = &options->shape;
    const struct option_spec table[SHAPE_OPTIONS] = {
        {"delay", OPTION_DURATION, &shape->delay_ns, "D", "how long every packet travels", .low = 0, .high = MAX_DELAY_NS},
        {"jitter", OPTION_DURATION, &shape->jitter_ns, "D", "spread around the delay", .low = 0, .high = MAX_DELAY_NS},
        {"distribution", OPTION_CHOICE, &options->distribution, "NAME", "of the jitter", .choices = distribution_names},
        {"correlation", OPTION_REAL, &shape->correlation, "R", "of a jitter with the one before, 0 to 0.99", .low = 0, .high = 0.99},
        {"loss", OPTION_REAL, &shape->loss, "S", "share lost, each packet for itself, 0 to 1", .low = 0, .high = 1},
        {"gemodel", OPTION_CUSTOM, shape, "P,R,1-H,1-K", "loss in bursts (Gilbert-Elliott), as shares", .parse = parse_gemodel},
        {"duplicate", OPTION_REAL, &shape->duplicate, "S", "share that comes twice", .low = 0, .high = 1},
        {"reorder", OPTION_REAL, &shape->reorder, "S", "share that does not travel but comes at once", .low = 0, .high = 1},
        {"corrupt", OPTION_REAL, &shape->corrupt, "S", "share in which one bit is flipped", .low = 0, .high = 1},
        {"rate", OPTION_COUNT, &shape->rate_bps, "BPS", "bits a second with 14 bytes of Ethernet header a packet; 0: any", .low = 0, .high = MAX_RATE_BPS},
        {"burst", OPTION_COUNT, &shape->burst_bytes, "BYTES", "what may pass at once after a pause", .low = 0, .high = 1 << 24},
        {"limit", OPTION_COUNT, &shape->limit, "N", "packets that may wait for the rate", .low = 1, .high = MAX_LIMIT},
        {"seed", OPTION_COUNT, &shape->seed, "N", "the same seed, the same fates", .required = false},
    };
    memcpy(specs, table, sizeof table);
}

const char *shape_options_finish(struct shape_options *options)
{
    struct shape *shape = &options->shape;
    for (int i = 0; distribution_names[i]; i++)
        if (strcmp(options->distribution, distribution_names[i]) == 0)
            shape->distribution = (enum distribution)i;
    if (shape->jitter_ns > shape->delay_ns)
        return "jitter is larger than delay: at most the delay is allowed";
    if (shape->bursts && shape->loss > 0)
        return "loss and gemodel: one of the two";
    if (shape->reorder > 0 && shape->delay_ns == 0)
        return "reorder needs a delay: the others must be behind";
    return NULL;
}
