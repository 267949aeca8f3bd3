#define _GNU_SOURCE
#include "session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

/* Room for one more in an array that doubles: sizes 1, 2, 4, 8, … are where it grows. */
static void *grow(void *array, uint32_t count, size_t size)
{
    if (count && count & (count - 1))
        return array;
    void *larger = realloc(array, (count ? 2 * (size_t)count : 1) * size);
    if (!larger)
        options_fail("no memory for the sessions");
    return larger;
}

struct session *sessions_add(struct session_list *list)
{
    list->sessions = grow(list->sessions, list->count, sizeof *list->sessions);
    struct session *session = &list->sessions[list->count++];
    *session = (struct session){0};
    return session;
}

struct batch *session_add_batch(struct session *session, uint64_t think_ns)
{
    session->batches = grow(session->batches, session->count, sizeof *session->batches);
    struct batch *batch = &session->batches[session->count++];
    *batch = (struct batch){.think_ns = think_ns};
    return batch;
}

void batch_add_request(struct batch *batch, const struct request *request)
{
    char *head, length_line[64] = "";
    if (request->body)
        snprintf(length_line, sizeof length_line, "Content-Length: %zu\r\n", request->body_length);
    int head_length = asprintf(&head, "%s %s HTTP/1.1\r\nUser-Agent: testbed-loadgen\r\nHost: %s\r\n%s\r\n", request->method, request->uri,
                               request->host, length_line);
    size_t body_length = request->body ? request->body_length : 0;
    char *text = head_length < 0 ? NULL : realloc(batch->text, batch->length + (size_t)head_length + body_length);
    if (!text)
        options_fail("no memory for the sessions");
    memcpy(text + batch->length, head, (size_t)head_length);
    if (body_length)
        memcpy(text + batch->length + head_length, request->body, body_length);
    free(head);
    batch->text = text;
    batch->length += (uint32_t)((size_t)head_length + body_length);
    batch->heads = grow(batch->heads, batch->requests, sizeof *batch->heads);
    batch->heads[batch->requests++] = strcmp(request->method, "HEAD") == 0;
}

void sessions_free(struct session_list *list)
{
    for (uint32_t i = 0; i < list->count; i++) {
        for (uint32_t j = 0; j < list->sessions[i].count; j++) {
            free(list->sessions[i].batches[j].text);
            free(list->sessions[i].batches[j].heads);
        }
        free(list->sessions[i].batches);
    }
    free(list->sessions);
    *list = (struct session_list){0};
}
