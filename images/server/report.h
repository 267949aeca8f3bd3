/* The JSON lines of docs/programs.md. */
#ifndef USERVER_REPORT_H
#define USERVER_REPORT_H

#include "settings.h"

void report_ready(const struct settings *settings);
void report_interval(void);

/* Every counter, as a line of this type: `summary` at the end, `interval` when a measurement asks for one. */
void report_counters(const struct settings *settings, const char *type);

void report_error(const char *message);

#endif
