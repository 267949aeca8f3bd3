#define _GNU_SOURCE
#include "session.h"

#include <stdio.h>
#include <stdlib.h>

#include "options.h"

void sessions_from_uri(struct session_list *list, const char *uri, const char *host)
{
    static struct session session;
    static struct batch batch;
    static const bool no_heads[1];
    char *text;
    int length = asprintf(&text, "GET %s HTTP/1.1\r\nUser-Agent: testbed-loadgen\r\nHost: %s\r\n\r\n", uri, host);
    if (length < 0)
        options_fail("no memory for the request");
    batch = (struct batch){.text = text, .length = (uint32_t)length, .requests = 1, .heads = no_heads};
    session = (struct session){.batches = &batch, .count = 1};
    *list = (struct session_list){.sessions = &session, .count = 1, .most_batches = 1};
}

void sessions_from_trace(struct session_list *list, const char *path, const char *host)
{
    (void)list;
    (void)host;
    options_fail("--sessions: %s: traces are not read yet", path);
}
