#define _GNU_SOURCE /* program_invocation_short_name */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void options_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

static bool real_parse(const char *text, double *value, char **rest)
{
    /* strtod also takes hexadecimal, "nan" and "inf": a flag should not. */
    if (!isdigit((unsigned char)text[0]) && text[0] != '.' && text[0] != '-')
        return false;
    if (strpbrk(text, "xXnN") == text + 1)
        return false;
    errno = 0;
    *value = strtod(text, rest);
    return *rest != text && errno == 0 && isfinite(*value);
}

bool duration_parse(const char *text, uint64_t *nanoseconds)
{
    static const struct {
        const char *unit;
        double ns;
    } units[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"min", 60e9}};
    double value;
    char *rest;
    if (!real_parse(text, &value, &rest) || value < 0)
        return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(rest, units[i].unit) != 0)
            continue;
        double exact = value * units[i].ns;
        if (exact >= 9e18)
            return false;
        *nanoseconds = (uint64_t)(exact + 0.5);
        return true;
    }
    return false;
}

static bool count_parse(const char *text, uint64_t *value)
{
    if (!isdigit((unsigned char)text[0]))
        return false;
    char *rest;
    errno = 0;
    unsigned long long parsed = strtoull(text, &rest, 10);
    *value = parsed;
    return *rest == '\0' && errno == 0;
}

static void print_default(const struct option_spec *spec)
{
    switch (spec->kind) {
    case OPTION_TEXT:
    case OPTION_CHOICE:
        if (*(const char **)spec->target)
            printf(" [%s]", *(const char **)spec->target);
        break;
    case OPTION_COUNT:
    case OPTION_COUNT_INF:
        if (*(uint64_t *)spec->target == OPTION_INFINITE)
            printf(" [inf]");
        else
            printf(" [%llu]", (unsigned long long)*(uint64_t *)spec->target);
        break;
    case OPTION_REAL:
        printf(" [%g]", *(double *)spec->target);
        break;
    case OPTION_DURATION:
        printf(" [%gs]", (double)*(uint64_t *)spec->target / 1e9);
        break;
    case OPTION_SWITCH:
    case OPTION_CUSTOM:
        break;
    }
}

static void print_help(const char *purpose, const struct option_spec *specs)
{
    printf("%s: %s\n\n", program_invocation_short_name, purpose);
    for (const struct option_spec *spec = specs; spec->name; spec++) {
        char left[64];
        snprintf(left, sizeof left, "--%s %s", spec->name, spec->value ? spec->value : "");
        printf("  %-32s %s", left, spec->help);
        if (spec->choices) {
            printf(" (one of:");
            for (const char *const *choice = spec->choices; *choice; choice++)
                printf(" %s", *choice);
            printf(")");
        }
        if (spec->required)
            printf(" (required)");
        else
            print_default(spec);
        putchar('\n');
    }
    printf("  %-32s %s\n", "--help", "print this and exit");
}

static void bounds_text(const struct option_spec *spec, char *text, size_t room)
{
    double scale = spec->kind == OPTION_DURATION ? 1e9 : 1;
    const char *unit = spec->kind == OPTION_DURATION ? "s" : "";
    if (spec->high > spec->low)
        snprintf(text, room, " from %.15g%s to %.15g%s", spec->low / scale, unit, spec->high / scale, unit);
    else
        text[0] = '\0';
}

static bool in_bounds(const struct option_spec *spec, double value)
{
    return spec->high <= spec->low || (value >= spec->low && value <= spec->high);
}

static bool assign_number(const struct option_spec *spec, const char *text, char *problem, size_t room)
{
    char bounds[96];
    bounds_text(spec, bounds, sizeof bounds);
    if (spec->kind == OPTION_REAL) {
        char *rest;
        double value;
        if (!real_parse(text, &value, &rest) || *rest || !in_bounds(spec, value)) {
            snprintf(problem, room, "'%s' is not allowed: a number%s", text, bounds);
            return false;
        }
        *(double *)spec->target = value;
        return true;
    }
    uint64_t value;
    if (spec->kind == OPTION_DURATION) {
        if (!duration_parse(text, &value) || !in_bounds(spec, (double)value)) {
            snprintf(problem, room, "'%s' is not allowed: a duration with its unit (ns, us, ms, s, min)%s", text, bounds);
            return false;
        }
    } else if (spec->kind == OPTION_COUNT_INF && strcmp(text, "inf") == 0) {
        value = OPTION_INFINITE;
    } else if (!count_parse(text, &value) || !in_bounds(spec, (double)value)) {
        const char *infinite = spec->kind == OPTION_COUNT_INF ? ", or inf" : "";
        snprintf(problem, room, "'%s' is not allowed: a whole number%s%s", text, bounds, infinite);
        return false;
    }
    *(uint64_t *)spec->target = value;
    return true;
}

static bool assign_choice(const struct option_spec *spec, const char *text, char *problem, size_t room)
{
    for (const char *const *choice = spec->choices; *choice; choice++) {
        if (strcmp(text, *choice) == 0) {
            *(const char **)spec->target = *choice;
            return true;
        }
    }
    char allowed[512] = "";
    for (const char *const *choice = spec->choices; *choice; choice++) {
        strncat(allowed, " ", sizeof allowed - strlen(allowed) - 1);
        strncat(allowed, *choice, sizeof allowed - strlen(allowed) - 1);
    }
    snprintf(problem, room, "'%s' is not one of:%s", text, allowed);
    return false;
}

bool option_assign(const struct option_spec *spec, const char *text, char *problem, size_t room)
{
    if (spec->kind == OPTION_CHOICE)
        return assign_choice(spec, text, problem, room);
    if (spec->kind != OPTION_TEXT && spec->kind != OPTION_CUSTOM)
        return assign_number(spec, text, problem, room);
    if (spec->kind == OPTION_TEXT) {
        *(const char **)spec->target = text;
        return true;
    }
    const char *allowed = spec->parse(text, spec->target);
    if (allowed)
        snprintf(problem, room, "'%s' is not allowed: %s", text, allowed);
    return !allowed;
}

static void assign(const struct option_spec *spec, const char *text)
{
    char problem[1024];
    if (!option_assign(spec, text, problem, sizeof problem))
        options_fail("--%s: %s", spec->name, problem);
}

void options_parse(int argc, char **argv, const char *purpose, const struct option_spec *specs)
{
    uint64_t given = 0; /* one bit a spec: tables here have fewer than 64 */
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            print_help(purpose, specs);
            exit(0);
        }
        if (strncmp(argv[i], "--", 2) != 0)
            options_fail("'%s' is not a flag; see --help", argv[i]);
        const char *name = argv[i] + 2;
        size_t length = strcspn(name, "=");
        const struct option_spec *spec = specs;
        while (spec->name && !(strlen(spec->name) == length && strncmp(spec->name, name, length) == 0))
            spec++;
        if (!spec->name)
            options_fail("unknown flag '--%.*s'; see --help", (int)length, name);
        given |= 1ull << (spec - specs);
        if (spec->kind == OPTION_SWITCH) {
            if (name[length] == '=')
                options_fail("--%s takes no value", spec->name);
            *(bool *)spec->target = true;
        } else if (name[length] == '=') {
            assign(spec, name + length + 1);
        } else if (i + 1 < argc) {
            assign(spec, argv[++i]);
        } else {
            options_fail("--%s needs a value: %s", spec->name, spec->value);
        }
    }
    for (const struct option_spec *spec = specs; spec->name; spec++)
        if (spec->required && !(given & (1ull << (spec - specs))))
            options_fail("--%s is required: %s", spec->name, spec->help);
}
