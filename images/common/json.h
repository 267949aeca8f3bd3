/*
 * Writes one JSON object as one line, in one write(2), so that lines of concurrent programs never mix.
 *
 *     struct json json;
 *     json_line(&json, "summary");            {"type":"summary"
 *     json_uint(&json, "replies", 10);         ,"replies":10
 *     json_end(&json, STDOUT_FILENO);          }\n
 *
 * A key of NULL writes an array element. Numbers that JSON cannot carry (NaN, infinities) become null.
 */
#ifndef TESTBED_JSON_H
#define TESTBED_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json {
    char *text;
    size_t length;
    size_t room;
    bool comma; /* the next member needs one before it */
};

void json_line(struct json *json, const char *type);
void json_uint(struct json *json, const char *key, uint64_t value);
void json_int(struct json *json, const char *key, int64_t value);
void json_real(struct json *json, const char *key, double value);
void json_bool(struct json *json, const char *key, bool value);
void json_string(struct json *json, const char *key, const char *value);
void json_object_open(struct json *json, const char *key);
void json_object_close(struct json *json);
void json_array_open(struct json *json, const char *key);
void json_array_close(struct json *json);

/* Closes the line, writes all of it, and frees the buffer. Returns 0, or -1 with errno set. */
int json_end(struct json *json, int descriptor);

#endif
