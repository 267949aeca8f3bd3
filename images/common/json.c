#include "json.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void append(struct json *json, const char *text, size_t length)
{
    if (json->length + length + 1 > json->room) {
        size_t room = json->room ? json->room : 4096;
        while (room < json->length + length + 1)
            room *= 2;
        char *larger = realloc(json->text, room);
        if (!larger)
            abort(); /* nothing sensible can be reported without memory for the report */
        json->text = larger;
        json->room = room;
    }
    memcpy(json->text + json->length, text, length);
    json->length += length;
    json->text[json->length] = '\0';
}

static void append_quoted(struct json *json, const char *value)
{
    append(json, "\"", 1);
    for (const char *at = value; *at; at++) {
        unsigned char c = (unsigned char)*at;
        char escaped[8];
        if (c == '"' || c == '\\')
            append(json, escaped, (size_t)snprintf(escaped, sizeof escaped, "\\%c", c));
        else if (c < 0x20 || c >= 0x7f) /* bytes beyond ASCII as Latin-1, so any byte string stays valid JSON */
            append(json, escaped, (size_t)snprintf(escaped, sizeof escaped, "\\u%04x", c));
        else
            append(json, at, 1);
    }
    append(json, "\"", 1);
}

static void member(struct json *json, const char *key)
{
    if (json->comma)
        append(json, ",", 1);
    json->comma = true;
    if (key) {
        append_quoted(json, key);
        append(json, ":", 1);
    }
}

__attribute__((format(printf, 3, 4))) static void number(struct json *json, const char *key, const char *format, ...)
{
    char text[40];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    member(json, key);
    append(json, text, (size_t)length);
}

void json_line(struct json *json, const char *type)
{
    memset(json, 0, sizeof *json);
    append(json, "{", 1);
    json_string(json, "type", type);
}

void json_uint(struct json *json, const char *key, uint64_t value)
{
    number(json, key, "%llu", (unsigned long long)value);
}

void json_int(struct json *json, const char *key, int64_t value)
{
    number(json, key, "%lld", (long long)value);
}

void json_real(struct json *json, const char *key, double value)
{
    if (isfinite(value))
        number(json, key, "%.9g", value);
    else
        number(json, key, "null");
}

void json_bool(struct json *json, const char *key, bool value)
{
    number(json, key, value ? "true" : "false");
}

void json_string(struct json *json, const char *key, const char *value)
{
    member(json, key);
    append_quoted(json, value);
}

static void open_with(struct json *json, const char *key, const char *bracket)
{
    member(json, key);
    append(json, bracket, 1);
    json->comma = false;
}

static void close_with(struct json *json, const char *bracket)
{
    append(json, bracket, 1);
    json->comma = true;
}

void json_object_open(struct json *json, const char *key)
{
    open_with(json, key, "{");
}

void json_object_close(struct json *json)
{
    close_with(json, "}");
}

void json_array_open(struct json *json, const char *key)
{
    open_with(json, key, "[");
}

void json_array_close(struct json *json)
{
    close_with(json, "]");
}

int json_end(struct json *json, int descriptor)
{
    append(json, "}\n", 2);
    int result = 0;
    for (size_t done = 0; done < json->length;) {
        ssize_t wrote = write(descriptor, json->text + done, json->length - done);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0) {
            result = -1;
            break;
        }
        done += (size_t)wrote;
    }
    int saved = errno;
    free(json->text);
    memset(json, 0, sizeof *json);
    errno = saved;
    return result;
}
