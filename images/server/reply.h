/* Which bytes answer a request. Everything here is constant or lives in the cache: a reply owns no memory. */
#ifndef USERVER_REPLY_H
#define USERVER_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "http.h"

struct reply {
    const char *head; /* the header; for errors, header and body in one */
    size_t head_length;
    off_t body_offset; /* in the cache's memory file */
    size_t body_length;
};

struct reply reply_for_request(const struct http_request *request);

/* For a request that could not be understood; always announces that the connection closes. */
struct reply reply_for_fault(int status);

#endif
