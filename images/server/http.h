/*
 * HTTP/1.x request headers: one request at a time out of a buffer, nothing kept between calls.
 *
 * Strict where leniency would let two readers disagree about where a request ends: lines end in CRLF, no folded
 * lines, no space before a colon. Empty lines before a request are skipped. `Host` is not required.
 *
 *     malformed, HTTP/0.9, a bad Content-Length          400
 *     Content-Length over 0, or any Transfer-Encoding    413  (no request of this server has a body)
 *     header longer than HTTP_HEADER_LIMIT               431
 *     a method other than GET and HEAD                   501
 *     a version other than 1.x                           505
 */
#ifndef USERVER_HTTP_H
#define USERVER_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#define HTTP_HEADER_LIMIT 8192 /* bytes, request line and the empty line included */
#define HTTP_PATH_ROOM 1024    /* bytes of a decoded path; no longer one is in the cache */

enum http_outcome {
    HTTP_INCOMPLETE, /* more bytes are needed */
    HTTP_REQUEST,
    HTTP_FAULT, /* `status` says which; what follows cannot be trusted, the connection must close */
};

struct http_request {
    size_t length; /* bytes of the buffer that belong to it */
    int status;    /* HTTP_FAULT: 400, 413, 431, 501 or 505 */
    bool head;
    bool keep_alive;    /* HTTP/1.1 without `Connection: close` */
    size_t path_length; /* decoded, without the query; longer than HTTP_PATH_ROOM if it did not fit */
    char path[HTTP_PATH_ROOM];
};

enum http_outcome http_parse(const char *data, size_t length, struct http_request *request);

#endif
