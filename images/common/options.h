/*
 * Command-line flags from one table: the table is the parser, the checks and the --help text.
 *
 * Every flag is `--name VALUE` or `--name=VALUE`; switches take no value. An unknown flag, a missing or bad
 * value, or a stray argument ends the program with one line on stderr that says what is wrong and what is
 * allowed, and exit status 2.
 */
#ifndef TESTBED_OPTIONS_H
#define TESTBED_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTION_INFINITE UINT64_MAX

enum option_kind {
    OPTION_SWITCH,   /* bool *: set to true */
    OPTION_TEXT,     /* const char **: points into argv */
    OPTION_COUNT,    /* uint64_t *: a whole number in [low, high] */
    OPTION_COUNT_INF, /* uint64_t *: the same, or `inf`, stored as OPTION_INFINITE */
    OPTION_REAL,     /* double *: a number in [low, high] */
    OPTION_DURATION, /* uint64_t *: nanoseconds, written with a unit: 250us, 20ms, 1.5s, 2min; low and high in ns */
    OPTION_CHOICE,   /* const char **: one of `choices` */
    OPTION_CUSTOM,   /* parse() decides; it returns NULL, or what is allowed */
};

struct option_spec {
    const char *name; /* without the dashes */
    enum option_kind kind;
    void *target;
    const char *value; /* how --help names the value */
    const char *help;
    double low, high;
    const char *const *choices; /* NULL-terminated */
    const char *(*parse)(const char *text, void *target);
    bool required;
};

/* `specs` ends with a NULL name. Handles --help (prints to stdout, exits 0). */
void options_parse(int argc, char **argv, const char *purpose, const struct option_spec *specs);

/* Prints "PROGRAM: message" as one line on stderr and exits with status 2. */
__attribute__((noreturn, format(printf, 1, 2))) void options_fail(const char *format, ...);

/* Reads one value into the spec's target; not for switches. False, and in `problem` what is wrong and what is allowed. */
bool option_assign(const struct option_spec *spec, const char *text, char *problem, size_t room);

/* "20ms" → 20000000. Returns false if the text is no duration. */
bool duration_parse(const char *text, uint64_t *nanoseconds);

#endif
