#define _GNU_SOURCE /* memrchr */
#include "http.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

struct text {
    const char *at;
    size_t length;
};

enum line_result { LINE_OK, LINE_MISSING, LINE_BAD };

static bool is_token(unsigned char c)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr(others, c));
}

static bool all_token(struct text text)
{
    for (size_t i = 0; i < text.length; i++)
        if (!is_token((unsigned char)text.at[i]))
            return false;
    return text.length > 0;
}

/* Visible characters, bytes above ASCII, and (inside a header's value) blanks. */
static bool all_printable(struct text text, bool blanks)
{
    for (size_t i = 0; i < text.length; i++) {
        unsigned char c = (unsigned char)text.at[i];
        if (c < 0x20 ? !(blanks && c == '\t') : c == 0x7f || (c == ' ' && !blanks))
            return false;
    }
    return true;
}

static bool equals(struct text text, const char *word)
{
    return strlen(word) == text.length && strncasecmp(text.at, word, text.length) == 0;
}

static struct text trim(struct text text)
{
    while (text.length && (*text.at == ' ' || *text.at == '\t'))
        text.at++, text.length--;
    while (text.length && (text.at[text.length - 1] == ' ' || text.at[text.length - 1] == '\t'))
        text.length--;
    return text;
}

/* Cuts one line, without its CRLF, off the front of `rest`. */
static enum line_result cut_line(struct text *rest, struct text *line)
{
    const char *end = memchr(rest->at, '\n', rest->length);
    if (!end)
        return LINE_MISSING;
    line->at = rest->at;
    line->length = (size_t)(end - rest->at);
    if (line->length == 0 || end[-1] != '\r')
        return LINE_BAD;
    line->length--;
    rest->length -= (size_t)(end + 1 - rest->at);
    rest->at = end + 1;
    return LINE_OK;
}

/* "close" in "keep-alive, Close" */
static bool list_has(struct text list, const char *word)
{
    while (list.length) {
        const char *comma = memchr(list.at, ',', list.length);
        struct text element = {list.at, comma ? (size_t)(comma - list.at) : list.length};
        if (equals(trim(element), word))
            return true;
        size_t used = element.length + (comma ? 1 : 0);
        list.at += used;
        list.length -= used;
    }
    return false;
}

/* The first fault found wins, except that a malformed header (400) outranks what is merely not supported. */
static void fault(struct http_request *request, int status)
{
    if (request->status == 0 || status == 400)
        request->status = status;
}

static void parse_content_length(struct text value, struct http_request *request)
{
    if (value.length == 0)
        fault(request, 400);
    bool zero = true;
    for (size_t i = 0; i < value.length; i++) {
        if (value.at[i] < '0' || value.at[i] > '9')
            fault(request, 400);
        zero = zero && value.at[i] == '0';
    }
    if (!zero)
        fault(request, 413);
}

static void parse_field(struct text line, struct http_request *request)
{
    const char *colon = memchr(line.at, ':', line.length);
    if (!colon) {
        fault(request, 400);
        return;
    }
    struct text name = {line.at, (size_t)(colon - line.at)};
    struct text value = {colon + 1, line.length - name.length - 1};
    if (!all_token(name) || !all_printable(value, true)) { /* a folded line starts with a blank: no token */
        fault(request, 400);
        return;
    }
    value = trim(value);
    if (equals(name, "Connection") && list_has(value, "close"))
        request->keep_alive = false;
    else if (equals(name, "Content-Length"))
        parse_content_length(value, request);
    else if (equals(name, "Transfer-Encoding"))
        fault(request, 413);
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void parse_target(struct text target, struct http_request *request)
{
    if (target.length > 7 && strncasecmp(target.at, "http://", 7) == 0) { /* absolute form: only its path matters */
        const char *slash = memchr(target.at + 7, '/', target.length - 7);
        target = slash ? (struct text){slash, target.length - (size_t)(slash - target.at)} : (struct text){"/", 1};
    }
    if (target.length == 0 || target.at[0] != '/') {
        fault(request, 400);
        return;
    }
    size_t out = 0;
    for (size_t i = 0; i < target.length && target.at[i] != '?' && target.at[i] != '#'; i++, out++) {
        char c = target.at[i];
        if (c == '%') {
            int high = i + 2 < target.length ? hex(target.at[i + 1]) : -1;
            int low = i + 2 < target.length ? hex(target.at[i + 2]) : -1;
            if (high < 0 || low < 0) {
                fault(request, 400);
                return;
            }
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (out < HTTP_PATH_ROOM)
            request->path[out] = c;
    }
    request->path_length = out <= HTTP_PATH_ROOM ? out : HTTP_PATH_ROOM + 1;
}

static void parse_version(struct text version, struct http_request *request)
{
    if (version.length != 8 || memcmp(version.at, "HTTP/", 5) != 0 || version.at[6] != '.' || version.at[5] < '0' || version.at[5] > '9' ||
        version.at[7] < '0' || version.at[7] > '9' || version.at[5] == '0')
        fault(request, 400);
    else if (version.at[5] != '1')
        fault(request, 505);
    else
        request->keep_alive = version.at[7] != '0';
}

static void parse_request_line(struct text line, struct http_request *request)
{
    const char *first = memchr(line.at, ' ', line.length);
    const char *last = memrchr(line.at, ' ', line.length);
    if (!first || first == last) { /* HTTP/0.9, or no request at all */
        fault(request, 400);
        return;
    }
    struct text method = {line.at, (size_t)(first - line.at)};
    struct text target = {first + 1, (size_t)(last - first - 1)};
    if (!all_token(method) || !all_printable(target, false)) {
        fault(request, 400);
        return;
    }
    parse_version((struct text){last + 1, line.length - (size_t)(last + 1 - line.at)}, request);
    request->head = method.length == 4 && memcmp(method.at, "HEAD", 4) == 0;
    if (!request->head && !(method.length == 3 && memcmp(method.at, "GET", 3) == 0))
        fault(request, 501);
    else
        parse_target(target, request);
}

/* No whole header yet: wait for more, unless what is there can no longer become a request. */
static enum http_outcome unfinished(struct http_request *request, struct text start, size_t length, bool in_request_line)
{
    if (length >= HTTP_HEADER_LIMIT) {
        request->status = 431;
        return HTTP_FAULT;
    }
    for (size_t i = 0; in_request_line && i < start.length && start.at[i] != ' ' && start.at[i] != '\r'; i++) {
        if (!is_token((unsigned char)start.at[i])) {
            request->status = 400;
            return HTTP_FAULT;
        }
    }
    return HTTP_INCOMPLETE;
}

enum http_outcome http_parse(const char *data, size_t length, struct http_request *request)
{
    request->status = 0;
    request->head = request->keep_alive = false;
    request->path_length = 0;
    struct text rest = {data, length}, line;
    bool in_request_line = true;
    for (;;) {
        enum line_result result = cut_line(&rest, &line);
        size_t used = length - rest.length;
        if (result == LINE_MISSING)
            return unfinished(request, rest, length, in_request_line);
        if (result == LINE_BAD) {
            request->status = 400;
            return HTTP_FAULT;
        }
        if (used > HTTP_HEADER_LIMIT) {
            request->status = 431;
            return HTTP_FAULT;
        }
        if (line.length == 0 && !in_request_line) {
            request->length = used;
            return request->status ? HTTP_FAULT : HTTP_REQUEST;
        }
        if (line.length == 0) /* empty lines before a request */
            continue;
        if (in_request_line)
            parse_request_line(line, request);
        else
            parse_field(line, request);
        in_request_line = false;
        if (request->status == 400)
            return HTTP_FAULT;
    }
}
