#include "http_reply.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "crc32.h"

enum { STATUS_LINE, HEADER, BODY, BODY_TO_CLOSE, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER };

void http_reply_start(struct http_reply *reply, bool no_body, bool want_crc)
{
    *reply = (struct http_reply){.state = STATUS_LINE, .no_body = no_body, .want_crc = want_crc};
}

void http_reply_drop(struct http_reply *reply)
{
    free(reply->partial);
    reply->partial = NULL;
    reply->partial_length = 0;
}

bool http_reply_ends_with_connection(const struct http_reply *reply)
{
    return reply->state == BODY_TO_CLOSE;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool parse_status(struct http_reply *reply, const char *line, size_t length)
{
    if (length < 12 || memcmp(line, "HTTP/1.", 7) != 0 || !is_digit(line[7]) || line[8] != ' ')
        return false;
    if (line[9] < '1' || line[9] > '5' || !is_digit(line[10]) || !is_digit(line[11]) || (length > 12 && line[12] != ' '))
        return false;
    reply->status = (uint16_t)((line[9] - '0') * 100 + (line[10] - '0') * 10 + line[11] - '0');
    reply->state = HEADER;
    return true;
}

static int digit_of(char c, unsigned base)
{
    if (is_digit(c))
        return c - '0';
    c = (char)(c | 32);
    return base == 16 && c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* A number with nothing but blanks around it; a chunk's size (base 16) may also be followed by extensions. */
static bool parse_number(const char *text, size_t length, unsigned base, uint64_t *value)
{
    size_t at = 0, digits = 0;
    while (at < length && is_blank(text[at]))
        at++;
    *value = 0;
    for (int digit; at < length && (digit = digit_of(text[at], base)) >= 0; at++) {
        if (++digits > 15)
            return false;
        *value = *value * base + (unsigned)digit;
    }
    while (at < length && is_blank(text[at]))
        at++;
    return digits && (at == length || (base == 16 && text[at] == ';'));
}

static bool parse_header(struct http_reply *reply, const char *line, size_t length)
{
    static const char content_length[] = "content-length:", transfer_encoding[] = "transfer-encoding:";
    size_t name = sizeof content_length - 1;
    if (length > name && strncasecmp(line, content_length, name) == 0) {
        uint64_t value;
        if (!parse_number(line + name, length - name, 10, &value) || (reply->has_length && value != reply->left))
            return false;
        reply->has_length = true;
        reply->left = value;
    }
    name = sizeof transfer_encoding - 1;
    if (length > name && strncasecmp(line, transfer_encoding, name) == 0) {
        while (name < length && is_blank(line[name]))
            name++;
        if (length - name < 7 || strncasecmp(line + name, "chunked", 7) != 0)
            return false;
        reply->chunked = true;
    }
    return true;
}

/* The empty line after the headers decides how the body ends. */
static enum http_result headers_end(struct http_reply *reply)
{
    if (reply->status < 200) { /* an interim reply: the real one follows */
        http_reply_start(reply, reply->no_body, reply->want_crc);
        return HTTP_MORE;
    }
    if (reply->no_body || reply->status == 204 || reply->status == 304)
        return HTTP_DONE;
    if (reply->chunked)
        reply->state = CHUNK_SIZE;
    else if (!reply->has_length)
        reply->state = BODY_TO_CLOSE;
    else if (reply->left == 0)
        return HTTP_DONE;
    else
        reply->state = BODY;
    return HTTP_MORE;
}

static enum http_result line_input(struct http_reply *reply, const char *line, size_t length)
{
    switch (reply->state) {
    case STATUS_LINE:
        return parse_status(reply, line, length) ? HTTP_MORE : HTTP_BAD;
    case HEADER:
        if (length == 0)
            return headers_end(reply);
        return parse_header(reply, line, length) ? HTTP_MORE : HTTP_BAD;
    case CHUNK_SIZE:
        if (!parse_number(line, length, 16, &reply->left))
            return HTTP_BAD;
        reply->state = reply->left ? CHUNK : TRAILER;
        return HTTP_MORE;
    case CHUNK_END:
        reply->state = CHUNK_SIZE;
        return length == 0 ? HTTP_MORE : HTTP_BAD;
    default: /* TRAILER */
        return length == 0 ? HTTP_DONE : HTTP_MORE;
    }
}

/* Keeps the beginning of a line until the rest comes. */
static bool keep_partial(struct http_reply *reply, const uint8_t *bytes, size_t length)
{
    if (reply->partial_length + length > HTTP_LONGEST_LINE)
        return false;
    char *larger = realloc(reply->partial, reply->partial_length + length);
    if (!larger)
        return false;
    memcpy(larger + reply->partial_length, bytes, length);
    reply->partial = larger;
    reply->partial_length = (uint16_t)(reply->partial_length + length);
    return true;
}

static enum http_result feed_line(struct http_reply *reply, const uint8_t *bytes, size_t length, size_t *used)
{
    const uint8_t *end = memchr(bytes, '\n', length);
    size_t taken = end ? (size_t)(end - bytes) + 1 : length;
    const char *line = (const char *)bytes;
    size_t line_length = taken;
    *used = taken;
    if (!end || reply->partial) {
        if (!keep_partial(reply, bytes, taken))
            return HTTP_BAD;
        if (!end)
            return HTTP_MORE;
        line = reply->partial;
        line_length = reply->partial_length;
    }
    line_length--; /* the newline */
    if (line_length && line[line_length - 1] == '\r')
        line_length--;
    char *partial = reply->partial;
    reply->partial = NULL;
    reply->partial_length = 0;
    enum http_result result = line_input(reply, line, line_length);
    free(partial);
    return result;
}

static enum http_result feed_body(struct http_reply *reply, const uint8_t *bytes, size_t length, size_t *used)
{
    size_t taken = reply->state != BODY_TO_CLOSE && length > reply->left ? (size_t)reply->left : length;
    if (reply->want_crc)
        reply->body_crc = crc32_add(reply->body_crc, bytes, taken);
    reply->body_bytes += taken;
    *used = taken;
    if (reply->state == BODY_TO_CLOSE)
        return HTTP_MORE;
    reply->left -= taken;
    if (reply->left)
        return HTTP_MORE;
    if (reply->state == BODY)
        return HTTP_DONE;
    reply->state = CHUNK_END;
    return HTTP_MORE;
}

enum http_result http_reply_feed(struct http_reply *reply, const uint8_t *bytes, size_t length, size_t *used)
{
    enum http_result result = HTTP_MORE;
    *used = 0;
    while (result == HTTP_MORE && *used < length) {
        size_t step;
        bool body = reply->state == BODY || reply->state == BODY_TO_CLOSE || reply->state == CHUNK;
        result = (body ? feed_body : feed_line)(reply, bytes + *used, length - *used, &step);
        *used += step;
    }
    return result;
}
