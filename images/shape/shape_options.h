/* The words of a shape: linkem's flags, and what follows `down` and `up` in a file of access links. */
#ifndef SHAPE_OPTIONS_H
#define SHAPE_OPTIONS_H

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

/* Checks what belongs together. NULL, or one line that says what does not. */
const char *shape_options_finish(struct shape_options *options);

#endif
