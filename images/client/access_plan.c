#include "access_plan.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "shape_options.h"
#include "stream.h"

enum { LONGEST_FILE = 1 << 26 };

const char *const link_direction_names[LINK_DIRECTIONS] = {[LINK_DOWN] = "down", [LINK_UP] = "up"};

/* The rest of a line, and where a problem is told. */
struct line {
    char *rest;
    unsigned long number;
    char *problem;
    size_t room;
};

__attribute__((format(printf, 2, 3))) static bool refuse(const struct line *line, const char *format, ...)
{
    int used = snprintf(line->problem, line->room, "%lu: ", line->number);
    va_list arguments;
    va_start(arguments, format);
    if (used > 0 && (size_t)used < line->room)
        vsnprintf(line->problem + used, line->room - (size_t)used, format, arguments);
    va_end(arguments);
    return false;
}

static char *next_word(struct line *line)
{
    return strtok_r(NULL, " \t\r", &line->rest);
}

static int direction_of(const char *word)
{
    for (int i = 0; i < LINK_DIRECTIONS; i++)
        if (strcmp(word, link_direction_names[i]) == 0)
            return i;
    return -1;
}

static const struct option_spec *find_spec(const struct option_spec *specs, const char *name)
{
    for (int i = 0; i < SHAPE_OPTIONS; i++)
        if (strcmp(specs[i].name, name) == 0)
            return &specs[i];
    return NULL;
}

/* The words of one direction; *word is the first word after them, or NULL. */
static bool parse_direction(struct line *line, struct shape *shape, const char *direction, char **word)
{
    struct shape_options options = {0};
    struct option_spec specs[SHAPE_OPTIONS];
    char problem[1024];
    shape_options_specs(&options, specs);
    while ((*word = next_word(line)) && direction_of(*word) < 0) {
        const struct option_spec *spec = find_spec(specs, *word);
        if (!spec)
            return refuse(line, "%s: '%s' is not a word of a shape: delay, jitter, distribution, correlation, loss, gemodel, duplicate, "
                                "reorder, corrupt, rate, burst, limit, seed, or the other direction", direction, *word);
        const char *value = next_word(line);
        if (!value)
            return refuse(line, "%s: %s needs a value: %s", direction, spec->name, spec->value);
        if (!option_assign(spec, value, problem, sizeof problem))
            return refuse(line, "%s: %s: %s", direction, spec->name, problem);
    }
    const char *contradiction = shape_options_finish(&options);
    if (contradiction)
        return refuse(line, "%s: %s", direction, contradiction);
    *shape = options.shape;
    return true;
}

static bool parse_share(struct line *line, const char *word, double *share)
{
    const struct option_spec spec = {.name = "share", .kind = OPTION_REAL, .target = share, .low = 1e-9, .high = 1e9};
    char problem[1024];
    if (!option_assign(&spec, word, problem, sizeof problem))
        return refuse(line, "share of the hosts: %s", problem);
    return true;
}

struct access_kind access_unshaped(void)
{
    struct shape_options options = {0};
    struct option_spec specs[SHAPE_OPTIONS];
    shape_options_specs(&options, specs);
    return (struct access_kind){.share = 1, .shapes = {options.shape, options.shape}};
}

static bool parse_line(struct line *line, const char *first, struct access_kind *kind)
{
    bool seen[LINK_DIRECTIONS] = {false};
    *kind = access_unshaped();
    if (!parse_share(line, first, &kind->share))
        return false;
    char *word = next_word(line);
    while (word) {
        int direction = direction_of(word);
        if (direction < 0)
            return refuse(line, "'%s' is not allowed: down or up, then the words of that direction", word);
        if (seen[direction])
            return refuse(line, "%s stands twice", word);
        seen[direction] = true;
        if (!parse_direction(line, &kind->shapes[direction], link_direction_names[direction], &word))
            return false;
    }
    return true;
}

static bool parse_lines(struct access_plan *plan, char *text, struct line *line)
{
    uint32_t room = 0;
    char *lines = text;
    for (char *each; (each = strsep(&lines, "\n"));) {
        line->number++;
        const char *first = strtok_r(each, " \t\r", &line->rest);
        if (!first || first[0] == '#')
            continue;
        if (plan->count == room) {
            room = room ? 2 * room : 16;
            struct access_kind *larger = realloc(plan->kinds, room * sizeof *larger);
            if (!larger)
                return refuse(line, "no memory for so many lines");
            plan->kinds = larger;
        }
        if (!parse_line(line, first, &plan->kinds[plan->count]))
            return false;
        plan->count++;
    }
    return plan->count > 0 || refuse(line, "no line says what share of the hosts has which link");
}

bool access_plan_parse(struct access_plan *plan, char *text, size_t length, char *problem, size_t room)
{
    struct line line = {.problem = problem, .room = room};
    *plan = (struct access_plan){0};
    bool whole = strlen(text) == length || refuse(&line, "a byte of zero is in the file");
    if (whole && parse_lines(plan, text, &line))
        return true;
    access_plan_free(plan);
    return false;
}

void access_plan_read(struct access_plan *plan, const char *path)
{
    FILE *file = fopen(path, "re");
    char *text = NULL, problem[1400];
    size_t length = 0, room = 0;
    if (!file)
        options_fail("--links: %s: %s", path, strerror(errno));
    while (!feof(file) && !ferror(file) && length < LONGEST_FILE) {
        if (length == room) {
            room = room ? 2 * room : 4096;
            text = realloc(text, room + 1);
            if (!text)
                options_fail("--links: %s: no memory", path);
        }
        length += fread(text + length, 1, room - length, file);
    }
    if (ferror(file))
        options_fail("--links: %s: %s", path, strerror(errno));
    if (length >= LONGEST_FILE)
        options_fail("--links: %s: longer than %d MiB", path, LONGEST_FILE >> 20);
    fclose(file);
    text[length] = '\0';
    if (!access_plan_parse(plan, text, length, problem, sizeof problem))
        options_fail("--links: %s:%s", path, problem);
    free(text);
}

void access_plan_free(struct access_plan *plan)
{
    free(plan->kinds);
    *plan = (struct access_plan){0};
}

uint32_t *access_plan_assign(const struct access_plan *plan, uint32_t hosts, uint64_t seed)
{
    uint32_t *kinds = malloc(hosts * sizeof *kinds);
    double total = 0, before = 0;
    if (!kinds)
        return NULL;
    for (uint32_t i = 0; i < plan->count; i++)
        total += plan->kinds[i].share;
    uint32_t filled = 0;
    for (uint32_t i = 0; i < plan->count; i++) {
        before += plan->kinds[i].share;
        uint32_t end = i + 1 == plan->count ? hosts : (uint32_t)lround(before / total * hosts);
        while (filled < end && filled < hosts)
            kinds[filled++] = i;
    }
    struct stream stream = stream_of(seed, 0);
    for (uint32_t left = hosts; left > 1; left--) { /* Fisher and Yates */
        uint32_t at = (uint32_t)(stream_next(&stream) % left), kind = kinds[at];
        kinds[at] = kinds[left - 1];
        kinds[left - 1] = kind;
    }
    return kinds;
}
