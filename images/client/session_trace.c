/*
 * httperf's wsesslog form, one request a line:
 *
 *     # a comment
 *     /first.html think=2.0         an unindented URI starts a burst; think: seconds between this burst and the next
 *         /image.gif                an indented one belongs to the same burst
 *     /form method=POST contents='a=1&b=2'
 *                                   an empty line ends the session
 *
 * testbed/workload/trace.py reads and writes the same; one table of traces holds both to it (tests/traces.py).
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "session.h"

struct trace {
    const char *path, *host;
    unsigned long line;
    struct session_list *list;
    struct session *session; /* NULL between sessions */
    struct batch *batch;     /* of the burst that is open */
    bool first_of_burst;     /* the open batch holds a burst's first request */
    uint64_t think_ns;       /* of the open burst */
};

__attribute__((noreturn, format(printf, 2, 3))) static void fail_at(const struct trace *trace, const char *format, ...)
{
    char message[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    options_fail("%s:%lu: %s", trace->path, trace->line, message);
}

static char unescape(const struct trace *trace, char c)
{
    static const char from[] = "nrt\\'\"", to[] = "\n\r\t\\'\"";
    const char *found = c ? strchr(from, c) : NULL;
    if (!found)
        fail_at(trace, "unknown escape '\\%c': allowed are \\n \\r \\t \\\\ \\' \\\"", c ? c : ' ');
    return to[found - from];
}

/* Cuts the next word off *rest, taking quotes and escapes away in place; NULL at the end of the line. */
static char *next_word(const struct trace *trace, char **rest, size_t *length)
{
    char *in = *rest + strspn(*rest, " \t"), *word = in, *out = in, quote = '\0';
    if (!*in)
        return NULL;
    for (; *in && (quote || !isblank((unsigned char)*in)); in++) {
        if (quote ? *in == quote : *in == '\'' || *in == '"')
            quote = quote ? '\0' : *in;
        else if (quote && *in == '\\')
            *out++ = unescape(trace, *++in);
        else
            *out++ = *in;
    }
    if (quote)
        fail_at(trace, "a quote that does not end on its line");
    *rest = *in ? in + 1 : in;
    *out = '\0';
    *length = (size_t)(out - word);
    return word;
}

static void parse_think(struct trace *trace, const char *text)
{
    char *end;
    double seconds = strtod(text, &end);
    bool decimal = isdigit((unsigned char)*text) && !text[strspn(text, "0123456789.eE+-")];
    if (!decimal || *end || !isfinite(seconds) || seconds > 86400)
        fail_at(trace, "think='%s' is not allowed: seconds from 0 to 86400", text);
    trace->think_ns = (uint64_t)(seconds * 1e9 + 0.5);
}

static void parse_method(const struct trace *trace, struct request *request, const char *text)
{
    static const char *const known[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(text, known[i]) == 0) {
            request->method = known[i];
            return;
        }
    }
    fail_at(trace, "method='%s' is not one of: GET HEAD POST PUT DELETE OPTIONS", text);
}

static void parse_option(struct trace *trace, struct request *request, char *word, size_t length)
{
    char *equals = strchr(word, '=');
    if (equals && strncmp(word, "think=", 6) == 0) {
        parse_think(trace, equals + 1);
    } else if (equals && strncmp(word, "method=", 7) == 0) {
        parse_method(trace, request, equals + 1);
    } else if (equals && strncmp(word, "contents=", 9) == 0) {
        request->body = equals + 1;
        request->body_length = length - 9;
    } else {
        fail_at(trace, "unknown option '%s': allowed are think= method= contents=", word);
    }
}

/* The batch that the request of this line belongs to. */
static struct batch *place(struct trace *trace, bool indented)
{
    if (indented && !trace->batch)
        fail_at(trace, "an indented URI without a burst before it");
    if (!trace->session)
        trace->session = sessions_add(trace->list);
    if (!indented) {
        trace->batch = session_add_batch(trace->session, trace->think_ns);
        trace->think_ns = 0;
        trace->first_of_burst = true;
    } else if (trace->first_of_burst) {
        trace->batch = session_add_batch(trace->session, 0);
        trace->first_of_burst = false;
    }
    return trace->batch;
}

/* Ends the URI where a blank follows; returns what comes after it. Quotes are part of it, as they are for httperf. */
static char *cut_uri(char *uri)
{
    char *end = uri + strcspn(uri, " \t");
    if (!*end)
        return end;
    *end = '\0';
    return end + 1;
}

static bool is_printable(const char *uri)
{
    for (; *uri; uri++) {
        if (iscntrl((unsigned char)*uri))
            return false;
    }
    return true;
}

static void read_line(struct trace *trace, char *line)
{
    bool indented = isblank((unsigned char)*line);
    size_t length;
    char *uri = line + strspn(line, " \t");
    if (*uri == '#')
        return;
    if (!*uri) {
        trace->session = NULL;
        trace->batch = NULL;
        trace->think_ns = 0;
        return;
    }
    line = cut_uri(uri);
    if (*uri != '/' || !is_printable(uri))
        fail_at(trace, "'%s' is no URI: a path beginning with / is expected", uri);
    struct request request = {.method = "GET", .uri = uri, .host = trace->host};
    struct batch *batch = place(trace, indented);
    for (char *word; (word = next_word(trace, &line, &length));)
        parse_option(trace, &request, word, length);
    batch_add_request(batch, &request);
}

void sessions_read_trace(struct session_list *list, const char *path, const char *host)
{
    struct trace trace = {.path = path, .host = host, .list = list};
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    if (!file)
        options_fail("--sessions: %s: %s", path, strerror(errno));
    for (ssize_t length; (length = getline(&line, &room, file)) >= 0;) {
        trace.line++;
        if (memchr(line, '\0', (size_t)length))
            fail_at(&trace, "a zero byte");
        while (length && (line[length - 1] == '\n' || line[length - 1] == '\r'))
            line[--length] = '\0';
        read_line(&trace, line);
    }
    if (ferror(file))
        options_fail("--sessions: %s: %s", path, strerror(errno));
    fclose(file);
    free(line);
    if (list->count == 0)
        options_fail("%s:%lu: the trace ends without a session", path, trace.line);
}
