/*
 * libFuzzer target for the request parser, built by test_userver_fuzz.py:
 *
 *     clang -fsanitize=fuzzer,address,undefined -Iimages/server tests/native/fuzz_http.c images/server/http.c
 *
 * Besides memory errors it looks for answers that contradict themselves: a request longer than its bytes, a status that
 * no reply has, and a request that would already have been complete with fewer bytes.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"

static int is_known(int status)
{
    return status == 400 || status == 413 || status == 431 || status == 501 || status == 505;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static struct http_request request, shorter;
    char *data = malloc(length ? length : 1); /* of exactly this size: a byte beyond it is an error */
    memcpy(data, bytes, length);
    enum http_outcome outcome = http_parse(data, length, &request);
    if (outcome == HTTP_FAULT)
        assert(is_known(request.status));
    if (outcome == HTTP_INCOMPLETE)
        assert(length < HTTP_HEADER_LIMIT);
    if (outcome == HTTP_REQUEST) {
        assert(request.length >= 16 && request.length <= length && request.length <= HTTP_HEADER_LIMIT);
        assert(memcmp(data + request.length - 4, "\r\n\r\n", 4) == 0);
        assert(request.path_length >= 1 && request.path_length <= HTTP_PATH_ROOM + 1 && request.path[0] == '/');
        assert(http_parse(data, request.length - 1, &shorter) == HTTP_INCOMPLETE);
        assert(http_parse(data, request.length, &shorter) == HTTP_REQUEST && shorter.length == request.length);
    }
    free(data);
    return 0;
}
