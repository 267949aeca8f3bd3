/* The flags of a shape, for linkem's command line. */
#ifndef LINK_SHAPE_OPTIONS_H
#define LINK_SHAPE_OPTIONS_H

#include "options.h"
#include "shape.h"

#define SHAPE_OPTIONS 13

/* What the flags are parsed into; `shape` is filled by shape_options_finish. */
struct shape_options {
    struct shape shape;
    const char *distribution;
};

/* Writes SHAPE_OPTIONS specs. */
void shape_options_specs(struct shape_options *options, struct option_spec *specs);

/* Checks what belongs together; ends the program with one line if it does not. */
void shape_options_finish(struct shape_options *options);

#endif
