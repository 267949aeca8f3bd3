/*
 * Reading HTTP/1.x replies piece by piece, as they come from the network.
 *
 * Understands Content-Length, chunked bodies, and bodies that end with the connection. What is in one piece is read where it
 * lies; only a header line that is cut by the end of a piece is copied.
 */
#ifndef CLIENT_HTTP_REPLY_H
#define CLIENT_HTTP_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_LONGEST_LINE = 8192 };

enum http_result {
    HTTP_MORE, /* all bytes were used, the reply goes on */
    HTTP_DONE, /* the reply is whole; the bytes after *used belong to the next one */
    HTTP_BAD,  /* this is no HTTP reply */
};

struct http_reply {
    uint8_t state;
    bool no_body;    /* the answer to HEAD */
    bool want_crc;   /* compute body_crc: costs time per byte */
    bool has_length, chunked;
    uint16_t status;
    uint16_t partial_length;
    uint32_t body_crc;
    uint64_t left;   /* bytes of the body or chunk still to come */
    uint64_t body_bytes;
    char *partial;   /* the beginning of a line that was cut; NULL when there is none */
};

void http_reply_start(struct http_reply *reply, bool no_body, bool want_crc);
enum http_result http_reply_feed(struct http_reply *reply, const uint8_t *bytes, size_t length, size_t *used);
/* The peer closed: was that the end of the body? */
bool http_reply_ends_with_connection(const struct http_reply *reply);
/* Frees what a reply that will not be finished holds. */
void http_reply_drop(struct http_reply *reply);

#endif
