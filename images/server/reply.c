#include "reply.h"

#include <stdlib.h>
#include <string.h>

#include "cache.h"

#define ERROR_HEAD(STATUS, LENGTH, EXTRA) \
    "HTTP/1.1 " STATUS "\r\nServer: userver\r\nContent-Type: text/plain\r\nContent-Length: " LENGTH "\r\n" EXTRA "\r\n"
#define FIXED(TEXT) {.head = (TEXT), .head_length = sizeof(TEXT) - 1}

struct reply reply_for_request(const struct http_request *request)
{
    static const struct reply missing = FIXED(ERROR_HEAD("404 Not Found", "10", "") "Not Found\n");
    static const struct reply missing_closing = FIXED(ERROR_HEAD("404 Not Found", "10", "Connection: close\r\n") "Not Found\n");
    static const size_t missing_body = 10;

    const struct cached_file *file = cache_find(request->path, request->path_length);
    if (!file) {
        struct reply reply = request->keep_alive ? missing : missing_closing;
        if (request->head)
            reply.head_length -= missing_body;
        return reply;
    }
    return (struct reply){
        .head = request->keep_alive ? file->head : file->head_closing,
        .head_length = request->keep_alive ? file->head_length : file->head_closing_length,
        .body_offset = file->offset,
        .body_length = request->head ? 0 : file->length,
    };
}

struct reply reply_for_fault(int status)
{
    static const struct {
        int status;
        struct reply reply;
    } faults[] = {
        {400, FIXED(ERROR_HEAD("400 Bad Request", "12", "Connection: close\r\n") "Bad Request\n")},
        {413, FIXED(ERROR_HEAD("413 Content Too Large", "18", "Connection: close\r\n") "Content Too Large\n")},
        {431, FIXED(ERROR_HEAD("431 Request Header Fields Too Large", "17", "Connection: close\r\n") "Header Too Large\n")},
        {501, FIXED(ERROR_HEAD("501 Not Implemented", "16", "Connection: close\r\n") "Not Implemented\n")},
        {505, FIXED(ERROR_HEAD("505 HTTP Version Not Supported", "23", "Connection: close\r\n") "HTTP/1.0 and 1.1 only.\n")},
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        if (faults[i].status == status)
            return faults[i].reply;
    abort(); /* the parser knows no other */
}
