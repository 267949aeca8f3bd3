/* A shape as programs print it. */
#ifndef SHAPE_REPORT_H
#define SHAPE_REPORT_H

#include "json.h"
#include "shape.h"

/* An object under `key`; shares are 0 … 1. */
void shape_write(struct json *json, const char *key, const struct shape *shape);

#endif
